"""What is measured: models, tasks as lm-eval defines them, items, shots, and the ratio aimed at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.lm_eval import task_names

CAUSAL, SEQ2SEQ = "smollm2-135m-instruct", "flan-t5-small-titles"
NEW_TOKENS = 64


@dataclass(frozen=True)
class Part:
    """What one process runs: tasks of lm-eval, with so many shots."""

    tasks: tuple[str, ...]
    shots: int


@dataclass(frozen=True)
class Workload:
    """Parts that are run one after the other.

    Attributes:
        limit: items of each task.
        aim: how many times as fast as lm-eval it shall be.
    """

    key: str
    title: str
    model: str
    parts: tuple[Part, ...]
    limit: int
    aim: float

    @property
    def generates(self) -> bool:
        """Whether texts are generated."""
        return any("dialogsum" in part.tasks for part in self.parts)


WORKLOADS = (
    Workload(
        "mmlu_5shot", "MMLU anatomy, professional_law, 5 shots", CAUSAL, (Part(("mmlu_anatomy", "mmlu_professional_law"), 5),), 100, 5.0
    ),
    Workload("t5_choices", "MMLU anatomy, 0 and 2 shots", SEQ2SEQ, (Part(("mmlu_anatomy",), 0), Part(("mmlu_anatomy",), 2)), 135, 3.5),
    Workload("hellaswag", "HellaSwag", CAUSAL, (Part(("hellaswag",), 0),), 100, 3.0),
    Workload("openbookqa_5shot", "OpenBookQA, 5 shots drawn for each item", CAUSAL, (Part(("openbookqa",), 5),), 60, 4.0),
    Workload("long_context", "OpenBookQA, 50 shots drawn for each item", CAUSAL, (Part(("openbookqa",), 50),), 12, 3.5),
    Workload("copa_0shot", "COPA", CAUSAL, (Part(("copa",), 0),), 100, 1.5),
    Workload("dialogsum_causal", "DialogSum, 64 new tokens", CAUSAL, (Part(("dialogsum",), 0),), 60, 1.7),
    Workload("dialogsum_t5", "DialogSum, 64 new tokens", SEQ2SEQ, (Part(("dialogsum",), 0),), 60, 2.5),
)
CTRANSLATE2_AIM, WHOLE_AIM, ADAPTERS_AIM = 1.0, 3.5, 1.3

_CHANGES: dict[str, dict[str, Any]] = {"hellaswag": {"training_split": "validation"}}
"""HellaSwag's training rows are read when the task is built, though no shot is drawn from them."""

_DIALOGSUM: dict[str, Any] = {
    "task": "dialogsum",
    "dataset_path": "knkarthick/dialogsum",
    "output_type": "generate_until",
    "test_split": "validation",
    "doc_to_text": "{{dialogue}}\n\nSummarize this dialogue in one or two sentences.\nSummary:",
    "doc_to_target": " {{summary}}",
    "generation_kwargs": {"until": ["\n\n"], "do_sample": False, "temperature": 0.0, "max_gen_toks": NEW_TOKENS},
    "metric_list": [{"metric": "chrf"}],
    "metadata": {"version": 1.0},
}
"""The validation split, in which every dialogue stands once; in the test split each stands three times."""


def write_tasks(folder: Path, data: Path) -> None:
    """Write every task's file to `folder`, its data's path in full, for both sides to read."""
    from lm_eval.tasks._yaml_loader import load_yaml

    known, root = task_names.index(), task_names.installed().tasks
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted({task for one in WORKLOADS for part in one.parts for task in part.tasks}):
        if name == "dialogsum":
            content = dict(_DIALOGSUM)
        else:
            file = root / known[name].path
            path = load_yaml(file, resolve_func=False)["dataset_path"]
            content = {"include": str(file), "task": name, "dataset_path": path, **_CHANGES.get(name, {})}
        content["dataset_path"] = str(data / content["dataset_path"])
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
