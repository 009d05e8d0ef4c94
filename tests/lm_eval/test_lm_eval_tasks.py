"""lm-eval's tasks in a run of the harness: the same scores as lm-eval's own run, beside intervals, samples and the store."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.compare.pairing import Results
from harness.engine.mock import MockBackend
from harness.errors import DataError, InputError, TaskError
from harness.evaluation.options import Options
from harness.evaluation.run import run
from harness.lm_eval import task_names
from harness.lm_eval.building import build
from harness.store import runs
from harness.store.signature import Signature
from tests.lm_eval.peer import compare, ours, theirs, write_tasks
from tests.silent import Recorder

SCORED = ["tiny_choice", "tiny_choice_test", "tiny_cloze", "tiny_contexts"]


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("model", ["causal", "seq2seq"])
def test_scored_tasks_equal_lm_evals_own_run(
    model: str, shots: int, tiny_tasks: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(model)
    finished = ours(folder, SCORED, tmp_path / "out", shots=shots)
    peer = theirs(folder, SCORED, tiny_tasks, shots=shots)
    for task in SCORED:
        record = finished.record.tasks[f"lm_eval:{task}"]
        assert record.shots == shots
        for sample, other in zip(compare(finished, peer, task), peer.first(task), strict=True):
            assert sample.prompt == other["arguments"][0][0]
    assert finished.record.tasks["lm_eval:tiny_choice"].items == 7


@pytest.mark.parametrize("model", ["causal", "seq2seq"])
def test_rolling_windows_equal_lm_evals_own_run(model: str, tiny_tasks: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(model)
    finished = ours(folder, ["tiny_prose"], tmp_path / "out")
    kept = compare(finished, theirs(folder, ["tiny_prose"], tiny_tasks), "tiny_prose")
    assert max(len(str(sample.prediction)) for sample in kept) > 300, "one text is longer than the causal model's window"


@pytest.mark.parametrize("shots", [0, 2])
def test_generated_text_equals_lm_evals_own_run(shots: int, causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    finished = ours(causal, ["tiny_words"], tmp_path / "out", shots=shots)
    peer = theirs(causal, ["tiny_words"], tiny_tasks, shots=shots)
    kept = compare(finished, peer, "tiny_words")
    assert [sample.text for sample in kept] == peer.texts("tiny_words")
    assert "exact_match,word" in finished.record.tasks["lm_eval:tiny_words"].metrics


def test_generated_text_of_an_encoder_decoder_model_begins_lm_evals(seq2seq: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    """lm-eval lets its decoder run on for as many tokens as the source has; ours stops at the task's limit."""
    finished = ours(seq2seq, ["tiny_words"], tmp_path / "out")
    peer = theirs(seq2seq, ["tiny_words"], tiny_tasks)
    texts = [str(sample.text) for sample in Results.read(finished.folder).task_samples("lm_eval:tiny_words", None).samples]
    for text, longer in zip(texts, peer.texts("tiny_words"), strict=True):
        assert longer.startswith(text.rstrip("\N{REPLACEMENT CHARACTER}"))
    assert any(texts)


def test_groups_carry_lm_evals_aggregates_with_intervals(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    finished = ours(causal, ["tiny_group"], tmp_path / "out")
    peer = theirs(causal, ["tiny_group"], tiny_tasks)
    assert list(finished.record.groups) == ["lm_eval:tiny_group", "lm_eval:tiny_inner"]
    for group in ("tiny_group", "tiny_inner"):
        record = finished.record.groups[f"lm_eval:{group}"]
        expected = peer.metrics(group)
        assert {name: metric.value for name, metric in record.metrics.items()} == pytest.approx(expected, abs=1e-9)
        for metric in record.metrics.values():
            assert metric.ci is not None
            assert metric.value is not None
            assert metric.ci[0] <= metric.value <= metric.ci[1]
    assert finished.record.groups["lm_eval:tiny_group"].metrics["acc"].n == 7 + 7 + 6
    assert finished.record.groups["lm_eval:tiny_inner"].tasks == ["lm_eval:tiny_contexts", "lm_eval:tiny_choice"]


def test_chat_template_and_turns_equal_lm_evals_own_run(tiny_tasks: Path, causal: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "chatty"
    shutil.copytree(causal, folder)
    template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[bot] {% endif %}"
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
    finished = ours(folder, ["tiny_choice_test", "tiny_words"], tmp_path / "out", shots=2, chat=True)
    peer = theirs(folder, ["tiny_choice_test", "tiny_words"], tiny_tasks, shots=2, chat=True)
    kept = compare(finished, peer, "tiny_choice_test")
    assert kept[0].prompt.startswith("<s>[system] Who is it?")
    assert [sample.text for sample in compare(finished, peer, "tiny_words")] == peer.texts("tiny_words")


def test_results_name_what_decides_the_number(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    two = ours(causal, ["tiny_choice"], tmp_path / "two", shots=2).record.tasks["lm_eval:tiny_choice"]
    other = ours(causal, ["tiny_choice"], tmp_path / "other", shots=2, seed=7).record.tasks["lm_eval:tiny_choice"]
    assert (two.signature["shots"], two.signature["shot_seed"]) == (2, 1234)
    assert other.signature["shot_seed"] == 7
    assert (two.answer, two.limit, two.data.split) == ("choices", None, "validation")
    fields = {"version": 3.0, "filter": "none", "lm_eval": "0.4.13", "aggregation": "mean"}
    assert two.metrics["acc"].signature == Signature.of("acc", fields)
    assert str(tiny_tasks.parent) not in two.signature.long
    prompts = [
        [sample.prompt for sample in Results.read(tmp_path / name).task_samples("lm_eval:tiny_choice", None).samples]
        for name in ("two", "other")
    ]
    assert prompts[0] != prompts[1], "another seed draws other shots"


def test_a_second_run_is_answered_from_the_store(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    tasks = ["tiny_choice", "tiny_words", "tiny_prose"]
    first = ours(causal, tasks, tmp_path / "one", limit=3).record
    again = ours(causal, tasks, tmp_path / "two", limit=3).record
    assert first.efficiency.requests.computed == first.efficiency.requests.unique > 0
    assert again.efficiency.requests.computed == 0
    assert again.tasks == first.tasks


def test_a_base_and_its_adapter_are_scored_separately(causal: Path, lora: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    tasks = ("lm_eval:tiny_choice", "lm_eval:tiny_words", "lm_eval:tiny_prose")
    options = Options(model=str(causal), tasks=tasks, adapter=(None, str(lora)), any_base=True, chat=False, output=tmp_path / "both")
    base, tuned = run(options, Recorder())
    (alone,) = run(replace(options, adapter=None, output=tmp_path / "alone", fresh=True), Recorder())
    assert base.record.tasks == alone.record.tasks
    values = [one.record.tasks["lm_eval:tiny_prose"].metrics["word_perplexity"].value for one in (base, tuned)]
    assert values[0] != values[1]
    digests = [
        [sample.digest for sample in Results.read(one.folder).task_samples("lm_eval:tiny_choice", None).samples] for one in (base, tuned)
    ]
    assert digests[0] == digests[1], "items pair"


def test_a_task_file_is_built_without_reading_what_lm_eval_knows(tiny_tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> None:
        raise AssertionError

    monkeypatch.setattr(task_names, "index", read)
    built = build([str(tiny_tasks / "tiny_words.yaml")], data=None, shots=None, seed=0)
    assert list(built.tasks) == ["tiny_words"]
    with pytest.raises(AssertionError):
        build(["tiny_words"], data=None, shots=None, seed=0)


def test_a_backend_that_reads_text_is_refused_before_anything_is_computed(
    tiny_tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(model="longest", tasks="lm_eval:tiny_choice", engine="mock", output=tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(MockBackend, "capabilities", replace(MockBackend.capabilities, reads="text"))
        with pytest.raises(InputError, match=r"--engine mock does not support tasks that give token ids without text \(lm_eval: tasks\)"):
            run(options, Recorder())
    assert not (tmp_path / "out").exists()
    (finished,) = run(options, Recorder())  # the mock backend decodes token ids
    assert finished.record.tasks["lm_eval:tiny_choice"].items == 7


def test_limit_and_files_and_progress(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    progress = Recorder()
    path = tiny_tasks / "tiny_words.yaml"
    options = Options(model=str(causal), tasks=(f"lm_eval:{path}", "lm_eval:tiny_ch*"), limit=2, chat=False, output=tmp_path / "out")
    (finished,) = run(options, progress)
    assert list(finished.record.tasks) == ["lm_eval:tiny_words", "lm_eval:tiny_choice", "lm_eval:tiny_choice_test"]
    assert all(task.items == 2 for task in finished.record.tasks.values())
    assert progress.done[f"lm_eval:{path}"] == 2
    assert (finished.folder / "samples" / "lm_eval.tiny_words.jsonl").is_file()
    assert runs.read(finished.folder) == finished.record


def test_a_prompt_too_long_loses_its_beginning_and_is_counted(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    finished = ours(causal, ["tiny_choice", "tiny_long"], tmp_path / "out", shots=7)
    peer = theirs(causal, ["tiny_choice", "tiny_long"], tiny_tasks, shots=7)
    for task in ("tiny_choice", "tiny_long"):
        compare(finished, peer, task)
        assert finished.record.tasks[f"lm_eval:{task}"].shortened.text_cut > 0


def test_a_missing_split_is_noted_where_nothing_is_asked_of_it_and_an_error_where_shots_are(
    causal: Path, tiny_tasks: Path, tmp_path: Path
) -> None:
    folder = write_tasks(tmp_path / "tasks")
    content = yaml.safe_load((folder / "tiny_choice.yaml").read_text())
    del content["dataset_kwargs"]["data_files"]["train"]
    path = tmp_path / "lacking.yaml"
    path.write_text(yaml.safe_dump(content | {"task": "lacking"}))
    progress = Recorder()
    options = Options(model=str(causal), tasks=(f"lm_eval:{path}",), limit=2, chat=False, output=tmp_path / "out")
    (finished,) = run(options, progress)
    assert finished.record.tasks["lm_eval:lacking"].items == 2
    assert progress.notes == ["lm_eval:lacking: the data have no split 'train'; nothing is asked of it."]
    with pytest.raises(DataError, match="no split 'train' to draw shots from"):
        run(replace(options, shots=1), progress)


def test_data_come_from_the_data_folder(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "tasks")
    content = yaml.safe_load((folder / "tiny_choice.yaml").read_text()) | {"task": "placed", "dataset_path": "some/where"}
    del content["dataset_kwargs"]
    (tmp_path / "placed.yaml").write_text(yaml.safe_dump(content))
    snapshot = tmp_path / "data" / "some" / "where"
    snapshot.mkdir(parents=True)
    for split in ("train", "validation"):
        (snapshot / f"{split}.jsonl").write_text((folder / f"{split}.jsonl").read_text())
    finished = ours(causal, [str(tmp_path / "placed.yaml")], tmp_path / "out", data=tmp_path / "data")
    record = finished.record.tasks["lm_eval:placed"]
    assert record.data.path == "some/where"
    assert (
        record.metrics["acc"].value
        == ours(causal, ["tiny_choice"], tmp_path / "other").record.tasks["lm_eval:tiny_choice"].metrics["acc"].value
    )
    with pytest.raises(DataError, match="some/where"):
        ours(causal, [str(tmp_path / "placed.yaml")], tmp_path / "out")


@pytest.mark.parametrize(
    ("task", "message"),
    [("tiny_choise", "Did you mean lm_eval:tiny_choice"), ("hellaswg", "lm_eval:hellaswag"), ("humaneval", "runs code")],
)
def test_what_cannot_be_asked_is_told(task: str, message: str, causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        ours(causal, [task], tmp_path / "out")
    assert message in str(caught.value)


def test_an_unsupported_generation_setting_is_told(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((tiny_tasks / "tiny_words.yaml").read_text())
    content["generation_kwargs"] |= {"num_beams": 4}
    (tmp_path / "beams.yaml").write_text(yaml.safe_dump(content | {"task": "beams"}))
    with pytest.raises(TaskError, match="num_beams=4"):
        ours(causal, [str(tmp_path / "beams.yaml")], tmp_path / "out")


def test_samples_of_one_prompt_differ_and_come_again(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((tiny_tasks / "tiny_words.yaml").read_text())
    content["generation_kwargs"] |= {"do_sample": True, "temperature": 1.5}
    content |= {"task": "sampled", "repeats": 3, "filter_list": [{"name": "all", "filter": [{"function": "take_first_k", "k": 3}]}]}
    content["process_results"] = "!function judge.count"
    path = tmp_path / "sampled.yaml"
    path.write_text(yaml.safe_dump(content).replace("'!function judge.count'", "!function judge.count"))
    (tmp_path / "judge.py").write_text("def count(doc, results):\n    return {'exact_match': len(set(results[0]))}\n")
    options = {"trust_remote_code": True, "fresh": True}
    records = [ours(causal, [str(path)], tmp_path / name, **options).record.tasks["lm_eval:sampled"] for name in ("one", "two")]
    one, again = (record.metrics["exact_match,all"] for record in records)
    assert one.value is not None
    assert one.value > 1.5
    assert again == one


def test_without_lm_eval_one_message_says_how_to_install_it(causal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(InputError) as caught:
        ours(causal, ["cola"], tmp_path / "out")
    assert "pip install 'adapter-harness[lm-eval]'" in str(caught.value)


@pytest.mark.parametrize("place", ["itself", "included"])
def test_code_of_a_task_file_needs_permission(causal: Path, tiny_tasks: Path, tmp_path: Path, place: str) -> None:
    content = yaml.safe_load((tiny_tasks / "tiny_choice.yaml").read_text()) | {"task": "with_code"}
    (tmp_path / "ran.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w').close()\n\ndef documents(dataset):\n    return dataset\n")
    code = "process_docs: !function ran.documents\n"
    for file in tiny_tasks.iterdir():
        if file.suffix != ".yaml" and file.is_file():
            shutil.copy(file, tmp_path)
    (tmp_path / "_base.yaml").write_text(code)
    (tmp_path / "with_code.yaml").write_text(yaml.safe_dump(content) + (code if place == "itself" else "include: _base.yaml\n"))
    with pytest.raises(TaskError, match=r"names Python code") as caught:
        ours(causal, [str(tmp_path / "with_code.yaml")], tmp_path / "out")
    assert "--trust-remote-code" in caught.value.remedy
    assert not (tmp_path / "trace").exists()
    ours(causal, [str(tmp_path / "with_code.yaml")], tmp_path / "out", trust_remote_code=True)
    assert (tmp_path / "trace").exists()


SCRIPT = """
import datasets
import evaluate

open({trace!r}, "w").close()


class Always(evaluate.Metric):
    def _info(self):
        features = datasets.Features({{"predictions": datasets.Value("string"), "references": datasets.Value("string")}})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {{"always": 1.0}}
"""


def test_a_metric_that_is_a_script_needs_permission(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((tiny_tasks / "tiny_words.yaml").read_text()) | {"task": "scripted"}
    (tmp_path / "always.py").write_text(SCRIPT.format(trace=str(tmp_path / "trace")))
    for metric in ({"metric": str(tmp_path / "always.py")}, {"metric": "exact_match", "hf_evaluate": True}):
        content["metric_list"] = [{**metric, "aggregation": "mean", "higher_is_better": True}]
        (tmp_path / "scripted.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(TaskError, match="names Python code"):
            ours(causal, [str(tmp_path / "scripted.yaml")], tmp_path / "out")
        assert not (tmp_path / "trace").exists()


def test_templates_of_a_task_file_do_not_reach_python(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((tiny_tasks / "tiny_words.yaml").read_text()) | {"task": "escaping"}
    content["doc_to_text"] = "{{ cycler.__init__.__globals__.os.system('touch " + str(tmp_path / "trace") + "') }}"
    (tmp_path / "escaping.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(TaskError):
        ours(causal, [str(tmp_path / "escaping.yaml")], tmp_path / "out")
    assert not (tmp_path / "trace").exists()
