"""Which shipped tasks say that their items belong together."""

from __future__ import annotations

import re

import pytest

from harness.tasks.registry import TaskRegistry

REGISTRY = TaskRegistry.default()
CLUSTERS = {
    "superglue_multirc": "idx.paragraph",
    "superglue_record": "idx.passage",
    "superglue_boolq": "passage",
    "superglue_wsc": "text",
    "superglue_axg": "idx // 2",
    "superglue_axb": "[premise, hypothesis] | sort",
    "glue_ax": "[premise, hypothesis] | sort",
    "glue_mnli_matched": "premise",
    "glue_mnli_mismatched": "premise",
    "glue_qnli": "question",
    "glue_wnli": "sentence1",
    "quac": "dialogue_id",
    "narrativeqa": "summary",
    "natural_questions_open_book": "context",
    "msmarco": "query_id",
    "hellaswag": "source_id",
    "social_i_qa": "context",
    "bold": "domain ~ '/' ~ category ~ '/' ~ name",
}
CLUSTERS |= {name: "question_index" for name in REGISTRY.tasks if name.startswith("bbq_")}
CLUSTERS |= {name: "source" for name in REGISTRY.tasks if name.startswith("tatoeba_")}


@pytest.mark.parametrize("name", sorted(CLUSTERS))
def test_items_that_share_a_text_name_it(name: str) -> None:
    assert REGISTRY.find(name).task.clustered_by == CLUSTERS[name]


def test_all_tasks_that_do_are_listed() -> None:
    found = {name for name, entry in REGISTRY.tasks.items() if entry.task.clustered_by and not re.match("flores", name)}
    assert found == set(CLUSTERS)
    assert REGISTRY.find("flores_eng_deu").task.clustered_by == "URL"
