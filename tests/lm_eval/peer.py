"""lm-eval's own run, to compare with, and small tasks in lm-eval's format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.compare.pairing import Results
from harness.evaluation.options import Options
from harness.evaluation.run import FinishedRun, run
from harness.store.samples import SampleRecord
from tests.silent import Recorder

TOLERANCE = 1e-4
RELATIVE = 1e-5
"""Of sums of hundreds of nats. Float32 forwards in other batches round differently, depending on the processor; of 150 pairs, the one of
the tiny T5 that is furthest from float64 is off by 2.6e-5."""

BACKEND = {"dtype": "float32", "softmax_dtype": "float64", "batch_size": 4}
"""lm-eval's own backend; its log-softmax in float64, since in float32, the default, that alone errs by 2e-4 nats."""

NATS = {"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "likelihood"}
"""Metrics of real numbers, in which the last digits of log-probabilities show."""


@contextmanager
def own_head() -> Iterator[None]:
    """Keep lm-eval from tying T5's head after loading, which makes a model with a head of its own score noise."""
    from transformers import T5ForConditionalGeneration

    tie = T5ForConditionalGeneration.tie_weights

    def only_while_loading(self: Any, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            tie(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(T5ForConditionalGeneration, "tie_weights", only_while_loading)
        yield


@dataclass(frozen=True)
class Theirs:
    """What lm-eval says of tasks and groups, and item by item."""

    results: dict[str, dict[str, Any]]
    samples: dict[str, list[dict[str, Any]]]

    def metrics(self, name: str) -> dict[str, float]:
        """Scores by metric, named as the harness names them."""
        found = self.results[name].items()
        return {key.removesuffix(",none"): float(value) for key, value in found if "," in key and "_stderr" not in key}

    def first(self, name: str) -> list[dict[str, Any]]:
        """One sample an item, of the first filter."""
        one = self.samples[name][0]["filter"]
        return sorted((sample for sample in self.samples[name] if sample["filter"] == one), key=lambda sample: int(sample["doc_id"]))

    def logprobs(self, name: str) -> list[list[float]]:
        """Log-likelihoods of each item's requests."""
        return [[float(one[0][0] if isinstance(one[0], (list, tuple)) else one[0]) for one in s["resps"]] for s in self.first(name)]

    def texts(self, name: str) -> list[str]:
        """Each item's generated text."""
        return [str(sample["resps"][0][0]) for sample in self.first(name)]


def theirs(
    model: Any,
    tasks: Sequence[str | dict[str, Any]],
    folder: Path | None,
    *,
    shots: int | None = None,
    limit: int | None = None,
    chat: bool = False,
) -> Theirs:
    """lm-eval's run of a loaded model, or of the folder of one with lm-eval's own backend in float32."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    with own_head():
        language_model = _own_backend(model) if isinstance(model, Path) else model
        found = lm_eval.simple_evaluate(
            model=language_model,
            tasks=list(tasks),
            num_fewshot=shots,
            limit=limit,
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            task_manager=TaskManager(include_path=str(folder) if folder else None, include_defaults=False),
        )
    return Theirs(found["results"], found["samples"])


def _own_backend(folder: Path) -> Any:
    """lm-eval's own backend, where an encoder-decoder model generates as many new tokens as the task allows.

    lm-eval gives it the source's length more, padding included, so that text which never ends would depend on the batch.
    """
    from lm_eval.models.huggingface import HFLM

    class Own(HFLM):  # type: ignore[misc]  # lm-eval's classes are untyped for mypy
        def _model_generate(self, context: Any, max_length: int, stop: list[str], **settings: Any) -> Any:
            length = max_length if self.backend == "causal" else max_length - context.shape[1] + 1  # 1 for the decoder's start
            return super()._model_generate(context=context, max_length=length, stop=stop, **settings)

    return Own(pretrained=str(folder), device="cpu", **BACKEND)


def ours(model: Path, tasks: Sequence[str], output: Path, **options: Any) -> FinishedRun:
    """The harness's run of tasks of lm-eval in float32, without the chat template unless asked for."""
    settings: dict[str, Any] = {"chat": False, "dtype": "float32", "device": "cpu"} | options
    (finished,) = run(Options(model=str(model), tasks=tuple(f"lm_eval:{task}" for task in tasks), output=output, **settings), Recorder())
    return finished


def compare(finished: FinishedRun, peer: Theirs, task: str) -> list[SampleRecord]:
    """Assert that metrics and log-likelihoods are equal; returns our samples."""
    record = finished.record.tasks[f"lm_eval:{task}"]
    expected = peer.metrics(task)
    assert list(record.metrics) == list(expected)
    for name, value in expected.items():
        bound = TOLERANCE * max(1.0, abs(value)) if name.split(",")[0] in NATS else 1e-9
        assert record.metrics[name].value == pytest.approx(value, abs=bound), (task, name)
    kept = Results.read(finished.folder).task_samples(f"lm_eval:{task}", None).samples
    assert [int(sample.id) for sample in kept] == [int(sample["doc_id"]) for sample in peer.first(task)]
    if kept[0].logprobs is not None:
        for sample, other in zip(kept, peer.logprobs(task), strict=True):
            assert sample.logprobs == pytest.approx(other, abs=TOLERANCE, rel=RELATIVE), (task, sample.id)
    return kept


ANIMALS = ("dog", "cat", "owl", "bee", "cow", "ant", "fox", "hen", "eel", "yak", "emu", "asp")


def _rows(count: int, offset: int = 0) -> list[dict[str, Any]]:
    rows = []
    for number in range(offset, offset + count):
        one, other = ANIMALS[number % 12], ANIMALS[(number * 5 + 1) % 12]
        rows.append(
            {
                "text": f"The {one} saw {number} of the {other}s.",
                "question": f"Who saw {number}?",
                "animal": one,
                "other": other + " and friends",
                "label": number % 2,
                "long": f"The {one} met the {other}. " * (1 + number % 3 * 7),
            }
        )
    return rows


def write_tasks(folder: Path) -> Path:
    """Small tasks of each of lm-eval's output types, and groups of them; data are JSON files beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in {"train": _rows(9, 20), "validation": _rows(7), "test": _rows(6, 40)}.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "validation", "test")}
    data: dict[str, Any] = {"dataset_path": "json", "dataset_kwargs": {"data_files": files}}
    glue_like = data | {"training_split": "train", "validation_split": "validation"}
    choice = glue_like | {
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}} {{question}}",
        "doc_to_choice": "{{[animal, other] if label == 0 else [other, animal]}}",
        "doc_to_target": "label",
        "metric_list": [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes", "mcc", "f1", "acc_mutual_info", "brier_score")],
        "metadata": {"version": 3.0},
    }
    words = data | {
        "output_type": "generate_until",
        "test_split": "test",
        "fewshot_split": "validation",
        "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_target": "{{animal}}",
        "generation_kwargs": {"until": ["\n", "tion"], "max_gen_toks": 12, "do_sample": False},
        "metric_list": [{"metric": name} for name in ("exact_match", "bleu", "chrf", "ter")],
        "filter_list": [
            {"name": "none", "filter": [{"function": "take_first"}]},
            {"name": "word", "filter": [{"function": "regex", "regex_pattern": "(\\w+)"}, {"function": "take_first"}]},
        ],
    }
    tasks: list[dict[str, Any]] = [
        words | {"task": "tiny_words"},
        words | {"task": "tiny_long", "doc_to_text": "{{long}} {{question}}\nAnswer:"},
        choice | {"task": "tiny_choice"},
        choice | {"task": "tiny_choice_test", "test_split": "test", "fewshot_split": "train", "description": "Who is it?\n\n"},
        glue_like
        | {"task": "tiny_cloze", "output_type": "loglikelihood", "doc_to_text": "{{question}} The", "doc_to_target": " {{animal}}"},
        glue_like | {"task": "tiny_prose", "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{long}}"},
        glue_like
        | {
            "task": "tiny_contexts",
            "output_type": "multiple_choice",
            "doc_to_text": "label",
            "doc_to_choice": "{{['The ' + animal, 'The ' + other]}}",
            "doc_to_target": "{{question}}",
            "metric_list": [{"metric": "acc"}],
        },
        {
            "group": "tiny_inner",
            "task": ["tiny_contexts", "tiny_choice"],
            "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}],
        },
        {
            "group": "tiny_group",
            "task": ["tiny_inner", "tiny_choice_test"],
            "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}, {"metric": "mcc", "weight_by_size": False}],
        },
    ]
    for task in tasks:
        (folder / f"{task.get('task') if isinstance(task.get('task'), str) else task['group']}.yaml").write_text(yaml.safe_dump(task))
    return folder
