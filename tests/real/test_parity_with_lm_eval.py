"""The same template on the same weights gives lm-eval's log-likelihoods and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.compare.pairing import Results
from harness.evaluation.options import Options
from harness.evaluation.run import run
from harness.store.samples import SampleRecord
from tests.silent import Recorder

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is in the dev extra")
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Theirs:
    """What lm-eval says: log-likelihoods of each item's choices, and accuracy."""

    logprobs: list[list[float]]
    accuracy: float


def _theirs(model: Path, task: dict[str, Any], folder: Path, *, limit: int, shots: int, causal: bool) -> Theirs:
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    (folder / "parity.yaml").write_text(yaml.safe_dump(task))
    with pytest.MonkeyPatch.context() as patch:
        if not causal:  # lm-eval ties T5's head again after loading, which makes FLAN-T5 score noise
            from transformers import T5ForConditionalGeneration

            tie = T5ForConditionalGeneration.tie_weights

            def only_while_loading(self: Any, *args: Any, **kwargs: Any) -> None:
                if args or kwargs:
                    tie(self, *args, **kwargs)

            patch.setattr(T5ForConditionalGeneration, "tie_weights", only_while_loading)
        # by itself lm-eval cuts T5's source to 512 tokens, which one of BoolQ's passages is longer than
        settings = {"batch_size": 8} if causal else {"batch_size": 1, "max_length": 2048}
        language_model = HFLM(pretrained=str(model), dtype="float32", device="cpu", **settings)
        found = lm_eval.simple_evaluate(
            model=language_model,
            tasks=[task["task"]],
            num_fewshot=shots,
            limit=limit,
            log_samples=True,
            bootstrap_iters=0,
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        )
    kept = sorted(found["samples"][task["task"]], key=lambda sample: sample["doc_id"])
    logprobs = [[float(answer[0][0]) for answer in sample["resps"]] for sample in kept]
    return Theirs(logprobs, float(found["results"][task["task"]]["acc,none"]))


def _lm_eval_task(include: str, **changes: Any) -> dict[str, Any]:
    root = Path(lm_eval.__file__).parent / "tasks"
    return {"include": str(root / include), **changes}


def _compare(ours: Sequence[SampleRecord], accuracy: float | None, theirs: Theirs) -> None:
    assert len(ours) == len(theirs.logprobs)
    for mine, other in zip(ours, theirs.logprobs, strict=True):
        assert mine.logprobs == pytest.approx(other, abs=TOLERANCE), mine.id
    assert accuracy == pytest.approx(theirs.accuracy, abs=1e-12)


@dataclass(frozen=True)
class Case:
    """A task of ours in its first template, and lm-eval's file of the same template.

    Attributes:
        include: lm-eval's file, in its folder of tasks.
        path: the dataset's folder, and its configuration.
        items: how many are scored.
    """

    task: str
    include: str
    path: str
    config: str
    items: int
    shots: int = 0


SST2 = Case("glue_sst2", "glue/sst2/default.yaml", "nyu-mll/glue", "sst2", 200)
RTE = Case("glue_rte", "glue/rte/default.yaml", "nyu-mll/glue", "rte", 120)
BOOLQ = Case("superglue_boolq", "super_glue/boolq/default.yaml", "aps/super_glue", "boolq", 100)
ANATOMY = Case("mmlu_anatomy", "mmlu/default/mmlu_anatomy.yaml", "cais/mmlu", "anatomy", 60)


@pytest.mark.real
@pytest.mark.parametrize(
    ("fixture", "case"),
    [
        *(("smollm2", case) for case in (replace(ANATOMY, items=40, shots=5), SST2, RTE, BOOLQ)),
        *(("flan_t5", case) for case in (ANATOMY, SST2, RTE, BOOLQ)),
    ],
    ids=lambda value: value.task if isinstance(value, Case) else value,
)
def test_log_likelihoods_and_accuracy_equal_lm_evals(
    fixture: str, case: Case, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model: Path = request.getfixturevalue(fixture)
    options = Options(
        model=str(model),
        tasks=(case.task,),
        shots=case.shots,
        limit=case.items,
        chat=False,
        dtype="float32",
        device="cpu",
        data=data,
        output=tmp_path / "ours",
    )
    (finished,) = run(options, Recorder())
    definition = _lm_eval_task(case.include, task="parity", dataset_path=str(data / case.path), dataset_name=case.config)
    theirs = _theirs(model, definition, tmp_path, limit=case.items, shots=case.shots, causal=fixture == "smollm2")
    _compare(
        Results.read(finished.folder).task_samples(case.task, None).samples,
        finished.record.tasks[case.task].metrics["accuracy"].value,
        theirs,
    )
