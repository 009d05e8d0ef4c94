"""lm-eval's tasks in a run of the harness: their requests for the engine, and from its responses their metrics, samples and records."""

from __future__ import annotations

import inspect
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contract import AnswerForm, Generate, Request, Response
from harness.errors import HarnessError, TaskError
from harness.evaluation.signatures import DIGITS, average_signature
from harness.evaluation.suites import SuiteResults
from harness.lm_eval import building, task_names
from harness.lm_eval.quiet import lm_eval_seeds, quiet
from harness.lm_eval.requests import RequestPlan, Rules, plan_choices, plan_generation, plan_rolling
from harness.lm_eval.scores import LmEvalScore, group_record
from harness.lm_eval.task_names import PREFIX
from harness.models.digests import text_digest
from harness.store.records import DataRecord, GroupRecord, ShortenedRecord, TaskRecord
from harness.store.samples import SampleRecord
from harness.store.signature import Signature
from harness.tasks.data import digest

if TYPE_CHECKING:
    from harness.evaluation.options import Options
    from harness.models.encoding import Encoder

_FORMS: dict[str, AnswerForm] = {"multiple_choice": "choices", "loglikelihood": "score_text", "loglikelihood_rolling": "score_text"}
_ANY_FILTER = "none"


@dataclass
class Prepared:
    """One task with its requests.

    Attributes:
        task: lm-eval's object; it holds its instances.
        plans: for each of lm-eval's request types the instances, each as often as it is repeated, and the engine's requests.
    """

    task: Any
    limit: int | None
    seed: int
    plans: list[tuple[list[Any], RequestPlan]]

    @property
    def name(self) -> str:
        """The task's name with prefix."""
        return PREFIX + str(self.task.task_name)

    @property
    def requests(self) -> list[Request]:
        """The engine's requests."""
        return [request for _, plan in self.plans for request in plan.requests]

    @property
    def cut(self) -> int:
        """Items of which some text did not fit the model."""
        places = [
            (instance.doc_id, place.request, plan) for some, plan in self.plans for instance, place in zip(some, plan.places, strict=True)
        ]
        return len({doc_id for doc_id, request, plan in places if request in plan.cut})

    def documents(self) -> list[tuple[int, Any]]:
        """The items of the run, with their numbers."""
        return list(self.task.doc_iterator(rank=0, limit=self.limit, world_size=1))

    def evaluated(self, responses: Mapping[str, Response]) -> LmEvalScores:
        """Filter the responses and let lm-eval score them.

        Raises:
            TaskError: lm-eval fails.
        """
        for instances, plan in self.plans:
            for instance in instances:
                instance.resps, instance.filtered_resps = [], {}
            for instance, answer in zip(instances, plan.answers(responses), strict=True):
                instance.resps.append(answer)
        try:
            self.task.apply_filters()
            return self._results()
        except HarnessError:
            raise
        except Exception as error:
            raise TaskError(
                f"lm-eval cannot score {self.name}: {type(error).__name__}: {error}.", "Its task may need a package that is not installed."
            ) from error

    def _results(self) -> LmEvalScores:
        by_document: dict[int, list[Any]] = defaultdict(list)
        for instance in self.task.instances:
            by_document[instance.doc_id].append(instance)
        for instances in by_document.values():
            instances.sort(key=lambda instance: instance.idx)
        documents = self.documents()
        values: dict[tuple[str, str], dict[int, Any]] = defaultdict(dict)
        for name in self.task.instances[0].filtered_resps:
            for number, document in documents:
                answers = [instance.filtered_resps[name] for instance in by_document[number]]
                for metric, value in self.task.process_results(document, answers).items():
                    values[metric, name][number] = value
        return LmEvalScores(self, documents, by_document, values)


@dataclass(frozen=True)
class LmEvalScores:
    """What lm-eval says of each item.

    Attributes:
        documents: the items and their numbers.
        instances: lm-eval's requests with their responses, by item.
        values: of each metric and filter, by item.
    """

    prepared: Prepared
    documents: Sequence[tuple[int, Any]]
    instances: Mapping[int, Sequence[Any]]
    values: Mapping[tuple[str, str], Mapping[int, Any]]

    def scores(self) -> dict[tuple[str, str], LmEvalScore]:
        """Every metric after every filter."""
        from lm_eval.api.metrics import mean

        task, scores = self.prepared.task, {}
        for (metric, name), values in self.values.items():
            aggregation = task.aggregation().get(metric, mean)
            better = task.higher_is_better().get(metric)
            fields = {
                "version": task.VERSION,
                "filter": name,
                "lm_eval": task_names.installed().version,
                "aggregation": getattr(aggregation, "__name__", "own"),
            }
            signature = Signature.of(metric, fields)
            scores[metric, name] = LmEvalScore(
                metric, aggregation, list(values.values()), better is not False, signature, self.prepared.seed
            )
        return scores

    def samples(self, scores: Mapping[tuple[str, str], LmEvalScore]) -> list[SampleRecord]:
        """Prompt, response and scores of every item."""
        alone = {key: dict(zip(self.values[key], score.item_scores, strict=True)) for key, score in scores.items()}
        return [
            self._sample(number, document, {_key(*key): own.get(number) for key, own in alone.items()})
            for number, document in self.documents
        ]

    def _sample(self, number: int, document: Any, metrics: dict[str, float | None]) -> SampleRecord:
        instances, task = self.instances[number], self.prepared.task
        first = instances[0]
        target = _target(task.doc_to_target(document))
        kind = first.request_type
        if kind == "loglikelihood":
            logprobs = [float(instance.resps[0][0]) for instance in instances]
            best: str | int = max(range(len(logprobs)), key=logprobs.__getitem__)
            prediction = best if task.OUTPUT_TYPE == "multiple_choice" or len(logprobs) > 1 else str(first.args[1])
            return SampleRecord(str(number), _digest(document), str(first.args[0]), target, prediction, metrics, logprobs=logprobs)
        if kind == "loglikelihood_rolling":
            text = str(first.args[0])
            return SampleRecord(str(number), _digest(document), "", target, text, metrics, logprobs=[float(first.resps[0])])
        judged, raw = next(iter(first.filtered_resps.values())), str(first.resps[0])
        prediction = judged if isinstance(judged, str) else json.dumps(judged, ensure_ascii=False, default=str)
        return SampleRecord(str(number), _digest(document), str(first.args[0]), target, prediction, metrics, text=raw)


@dataclass
class LmEvalSuite:
    """The tasks of lm-eval in one run.

    Attributes:
        notes: what the user should know before the run.
    """

    prepared: list[Prepared]
    groups: Mapping[str, Any]
    labels: Mapping[str, str]
    notes: list[str]
    options: Options

    @property
    def requests(self) -> list[Request]:
        """The engine's requests; their ids begin with the task's name."""
        return [request for task in self.prepared for request in task.requests]

    @property
    def request_labels(self) -> dict[str, str]:
        """For each request's id the name under which the user asked for its task."""
        return {request.id: self.labels[prepared.task.task_name] for prepared in self.prepared for request in prepared.requests}

    def score(self, responses: Mapping[str, Response]) -> SuiteResults:
        """Scores, samples and records of every task and group.

        Args:
            responses: to all of `requests`, by id.
        """
        with quiet():
            return self._results(responses)

    def _results(self, responses: Mapping[str, Response]) -> SuiteResults:
        results = SuiteResults()
        scores: dict[str, dict[tuple[str, str], LmEvalScore]] = {}
        for prepared in self.prepared:
            evaluated = prepared.evaluated(responses)
            task_scores = scores[prepared.task.task_name] = evaluated.scores()
            results.samples[prepared.name] = evaluated.samples(task_scores)
            results.tasks[prepared.name] = _task_record(prepared, evaluated, task_scores, self.options)
        for name, group in self.groups.items():
            results.groups[PREFIX + name] = _group_record(group, scores, results.tasks)
        return results


def open_suite(names: Sequence[str], options: Options, encoder: Encoder) -> LmEvalSuite:
    """Build tasks of lm-eval, render their prompts with few-shot examples, and tokenize them.

    Args:
        names: tasks, groups, tags, globs or files of lm-eval, without prefix.
        options: options of the run; shots, limit, seed and data apply.
        encoder: the model's tokenizer; decides about the chat template.

    Raises:
        InputError: lm-eval is not installed.
        TaskError: a name is unknown, or a task cannot be built.
        DataError: a task's data are not available.
    """
    task_names.installed()
    seed = options.seed or building.FEWSHOT_SEED
    built = building.build(names, data=options.data, shots=options.shots, seed=seed, remote_code=options.trust_remote_code)
    rules = Rules(encoder.tokenizer, encoder.architecture, encoder.max_length)
    prepared = [_prepared(task, options, encoder, rules) for task in built.tasks.values()]
    notes = list(dict.fromkeys(built.notes))
    if options.templates or options.seeds:
        notes.append(
            "lm-eval tasks have one template and one stream of few-shot examples: --template and --shot-seeds do not apply to them."
        )
    fixed = [task for task in prepared if options.shots and not _shots(task.task)]
    notes += [f"{task.name}: its own file sets 0 shots, which lm-eval does not override." for task in fixed]
    return LmEvalSuite(prepared, built.groups, built.labels, notes, options)


def _prepared(task: Any, options: Options, encoder: Encoder, rules: Rules) -> Prepared:
    from harness.lm_eval.chat import chat_formatter

    name = PREFIX + str(task.task_name)
    try:
        with quiet(), lm_eval_seeds():
            task.build_all_requests(
                limit=options.limit,
                rank=0,
                world_size=1,
                apply_chat_template=encoder.chat,
                fewshot_as_multiturn=encoder.chat,
                chat_template=chat_formatter(encoder.tokenizer) if encoder.chat else None,
                tokenizer_name="",
            )
    except HarnessError:
        raise
    except Exception as error:
        raise TaskError(f"lm-eval cannot ask {name}: {type(error).__name__}: {error}.", "Check --shots, and the task's data.") from error
    by_type: dict[str, list[Any]] = defaultdict(list)
    for instance in task.instances:
        by_type[instance.request_type].extend([instance] * (instance.repeats or 1))
    return Prepared(task, options.limit, options.seed, [(some, _plan(kind, some, name, rules, options)) for kind, some in by_type.items()])


def _plan(kind: str, instances: Sequence[Any], name: str, rules: Rules, options: Options) -> RequestPlan:
    arguments = [instance.args for instance in instances]
    if kind == "loglikelihood":
        return plan_choices(rules, arguments, [instance.doc_id for instance in instances], f"{name}/choices")
    if kind == "loglikelihood_rolling":
        return plan_rolling(rules, [text for (text,) in arguments], f"{name}/text")
    return plan_generation(rules, arguments, f"{name}/generate", seed=options.seed)


def _task_record(
    prepared: Prepared, evaluated: LmEvalScores, scores: Mapping[tuple[str, str], LmEvalScore], options: Options
) -> TaskRecord:
    task, config = prepared.task, _config(prepared.task)
    template_digest = text_digest(json.dumps(config, sort_keys=True, default=str))
    samples_digest = text_digest("".join(_digest(document) for _, document in evaluated.documents))
    split = task.config.test_split if task.has_test_docs() else task.config.validation_split
    path, name = str(task.config.dataset_path or task.DATASET_PATH or prepared.name), task.config.dataset_name or task.DATASET_NAME
    shots = _shots(task)
    fields: dict[str, object] = {
        "version": task.VERSION,
        "lm_eval": task_names.installed().version,
        "config_digest": template_digest[:DIGITS],
        "code_digest": _code_digest(task)[:DIGITS],
        "shots": shots,
    }
    if shots:
        fields |= {"shot_seed": options.seed or building.FEWSHOT_SEED, "shot_pool": _pool_digest(task)[:DIGITS]}
    fields |= {"data": path, "config": name, "split": split, "data_digest": samples_digest[:DIGITS], "items": len(evaluated.documents)}
    if any(isinstance(request, Generate) and request.temperature > 0 for request in prepared.requests):
        fields["sampling_seed"] = options.seed
    return TaskRecord(
        title=str(task.config.task_alias or task.task_name),
        items=len(evaluated.documents),
        shots=shots,
        template="lm-eval",
        template_digest=template_digest,
        answer=_FORMS.get(task.OUTPUT_TYPE, "generate"),
        metrics={_key(*key): score.record() for key, score in scores.items()},
        data=DataRecord(path=path, config=name, split=str(split or "test"), revision=None, digest=samples_digest),
        shortened=ShortenedRecord(items=prepared.cut, text_cut=prepared.cut),
        seed=options.seed,
        limit=options.limit,
        signature=Signature.of(prepared.name, fields),
    )


def _code_digest(task: Any) -> str:
    """SHA-256 (hex) of the Python files that the task's configuration takes functions from.

    Our own reader of its data does not count: the digest of the data says what it read.
    """
    functions = [value for name, value in vars(task.config).items() if callable(value) and not (name == "custom_dataset" and _ours(value))]
    files = sorted({file for function in functions if (file := inspect.getsourcefile(inspect.unwrap(function)))})
    return text_digest("".join(text_digest(Path(file).read_text(encoding="utf-8")) for file in files))


def _ours(function: Any) -> bool:
    return str(inspect.unwrap(function).__module__).partition(".")[0] == "harness"


def _pool_digest(task: Any) -> str:
    """SHA-256 (hex) of the content of everything that few-shot examples are drawn from."""
    with quiet():
        return text_digest("".join(_digest(document) for document in task.fewshot_docs() or ()))


def _group_record(group: Any, scores: Mapping[str, Mapping[tuple[str, str], LmEvalScore]], tasks: Mapping[str, TaskRecord]) -> GroupRecord:
    """lm-eval's signatures aggregate of a group."""
    names = [str(task.task_name) for task in group.get_all_tasks()]
    flat = {
        name: {"sample_len": max((len(score.items) for score in scores[name].values()), default=0)}
        | {f"{metric},{after}": score.value for (metric, after), score in scores[name].items()}
        for name in names
    }
    aggregates = group.aggregate(flat)
    signatures = {PREFIX + name: tasks[PREFIX + name].signature for name in names}
    records = {}
    for aggregate in group.aggregate_metric_list:
        for after in sorted({key[1] for name in names for key in scores[name] if key[0] == aggregate.metric}):
            value = aggregates.get(f"{aggregate.metric},{after}")
            if value is None:
                continue
            by_task = {PREFIX + name: scores[name][aggregate.metric, after] for name in names if (aggregate.metric, after) in scores[name]}
            members = list(by_task.values())
            average = "micro" if aggregate.weight_by_size else "macro"
            signature = average_signature(
                [(name, score.signature) for name, score in by_task.items()], signatures, average, aggregate.metric
            )
            key = _key(aggregate.metric, after)
            records[key] = group_record(members, float(value), by_size=bool(aggregate.weight_by_size), signature=signature)
    return GroupRecord(title=str(group.alias or group.name), tasks=[PREFIX + name for name in names], metrics=records)


def _config(task: Any) -> dict[str, Any]:
    """The task's configuration without what depends on where files lie."""
    config = dict(task.dump_config())
    metadata = {key: value for key, value in (config.get("metadata") or {}).items() if key != "config_source"}
    return {key: value for key, value in config.items() if key not in ("custom_dataset", "metadata")} | {"metadata": metadata}


def _shots(task: Any) -> int:
    return int(task.get_config("num_fewshot") or 0)


def _key(metric: str, name: str) -> str:
    """How results call a metric: lm-eval's signatures `metric,filter`, without its filter that does nothing."""
    return metric if name == _ANY_FILTER else f"{metric},{name}"


def _digest(document: Any) -> str:
    return digest(document if isinstance(document, Mapping) else {"document": document})


def _target(target: Any) -> str | int | list[str]:
    if isinstance(target, int) and not isinstance(target, bool):
        return target
    if isinstance(target, list):
        return [str(text) for text in target]
    return str(target)
