"""GLUE, SuperGLUE, MMLU, BIG-bench Hard and the common extras, on invented rows in each dataset's documented columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness import metrics
from harness.contract import ChoiceOutcome, TextOutcome
from harness.metrics.base import check_form
from harness.tasks.prompts import TemplateVariant, draw_shots
from harness.tasks.schema import Task
from tests.shipped.scored import outcome, scores
from tests.shipped.shown import REGISTRY, Row, show

GLUE = [f"glue_{name}" for name in ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli_matched", "mnli_mismatched", "qnli", "rte", "wnli")]
SUPERGLUE = [f"superglue_{name}" for name in ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")]
DIAGNOSTICS = ["superglue_axb", "superglue_axg"]
COMMON = [
    *("arc_easy", "arc_challenge", "hellaswag", "openbookqa", "piqa", "winogrande"),
    *("social_i_qa", "commonsense_qa", "sciq", "gsm8k"),
]
EXAMS = [f"{form}_{subject}" for form in ("mmlu", "mmlu_cloze", "mmlu_generate") for subject in ("anatomy", "world_religions")]
OWN = [*GLUE, "glue_stsb_generate", "glue_ax", *SUPERGLUE, *DIAGNOSTICS, *COMMON, *EXAMS, *REGISTRY.members("bbh")]


def task_of(name: str) -> Task:
    return REGISTRY.find(name).task


@pytest.mark.parametrize("name", OWN)
def test_header_is_complete_and_wordings_differ(name: str) -> None:
    task = task_of(name)
    about = task.about
    assert all((about.title, about.source, about.license, about.paper, about.rows, about.languages, about.tags, about.notes))
    assert task.data.split in about.rows
    assert len({template.prompt or template.prompts for template in task.templates}) == len(task.templates) >= 3
    assert task.shots.split in about.rows
    for spec in task.metrics:
        check_form(metrics.load(spec.metric, spec.options), task.answer)


@pytest.mark.parametrize(
    ("group", "members"),
    [("glue", GLUE), ("superglue", SUPERGLUE), ("superglue_diagnostics", DIAGNOSTICS), ("common", COMMON)],
)
def test_group_members(group: str, members: Sequence[str]) -> None:
    assert sorted(REGISTRY.members(group)) == sorted(members)


def test_glue_counts_mnli_once_and_superglue_averages_headlines() -> None:
    glue, superglue = REGISTRY.groups["glue"][0], REGISTRY.groups["superglue"][0]
    assert [(a.metric, a.average) for a in glue.aggregate] == [(None, "members")]
    assert "glue_mnli" in glue.tasks
    assert len(glue.tasks) == 9
    assert [(a.metric, a.average) for a in superglue.aggregate] == [(None, "macro")]


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("glue_cola", ("mcc",)),
        ("glue_mrpc", ("accuracy", "f1")),
        ("glue_qqp", ("accuracy", "f1")),
        ("glue_stsb", ("pearson", "spearman")),
        ("glue_mnli_matched", ("accuracy",)),
        ("superglue_cb", ("accuracy", "f1_macro")),
        ("superglue_multirc", ("f1a", "em")),
        ("superglue_record", ("f1", "em")),
        ("superglue_axb", ("mcc",)),
    ],
)
def test_one_score_of_a_task_as_in_its_paper(name: str, headline: tuple[str, ...]) -> None:
    assert task_of(name).headlines == headline


@pytest.mark.parametrize("prefix", ["mmlu", "mmlu_cloze", "mmlu_generate"])
def test_every_form_of_mmlu_has_the_same_57_subjects(prefix: str) -> None:
    plain = {name.removeprefix("mmlu_") for name in REGISTRY.members("mmlu")}
    assert {name.removeprefix(f"{prefix}_") for name in REGISTRY.members(prefix)} == plain
    sizes = [len(REGISTRY.members(f"{prefix}_{part}")) for part in ("stem", "humanities", "social_sciences", "other")]
    assert sizes == [19, 13, 12, 13]
    assert sum(task_of(name).about.rows["test"] for name in REGISTRY.members(prefix)) == 14042


def test_bbh_has_27_tasks_and_6511_items() -> None:
    members = REGISTRY.members("bbh")
    assert len(members) == 27
    assert sum(task_of(name).about.rows["test"] for name in members) == 6511
    assert {(task_of(name).shots.number, task_of(name).shots.split) for name in members} == {(3, "test")}


PAIR = {"sentence1": "It rains.", "sentence2": "It is wet.", "idx": 0}
PREMISED = {"premise": "It rains.", "hypothesis": "It is wet", "idx": 0}
SCIENCE = {"text": ["ice", "steam", "snow"], "label": ["1", "2", "3"]}
CLASSIFIED: list[tuple[str, Row, str, tuple[str, ...], str]] = [
    (
        "glue_cola",
        {"sentence": "Him ran.", "label": 0, "idx": 0},
        "Him ran.\nQuestion: Is this sentence grammatical?\nAnswer:",
        ("no", "yes"),
        "no",
    ),
    (
        "glue_sst2",
        {"sentence": "a fine film ", "label": 1, "idx": 0},
        "a fine film \nQuestion: Is this sentence positive or negative?\nAnswer:",
        ("negative", "positive"),
        "positive",
    ),
    (
        "glue_mrpc",
        {**PAIR, "label": 1},
        "Sentence 1: It rains.\nSentence 2: It is wet.\nQuestion: Is the second sentence a paraphrase of the first?\nAnswer:",
        ("no", "yes"),
        "yes",
    ),
    (
        "glue_qqp",
        {"question1": "Why rain?", "question2": "Why does it rain?", "label": 1, "idx": 0},
        "Question 1: Why rain?\nQuestion 2: Why does it rain?\nQuestion: Would one answer serve both of these questions?\nAnswer:",
        ("no", "yes"),
        "yes",
    ),
    (
        "glue_mnli_matched",
        {**PREMISED, "label": 1},
        "It rains.\nQuestion: It is wet. True, False or Neither?\nAnswer:",
        ("True", "Neither", "False"),
        "Neither",
    ),
    (
        "glue_ax",
        {**PREMISED, "hypothesis": "It is dry.", "label": 2},
        "It rains.\nQuestion: It is dry. True, False or Neither?\nAnswer:",
        ("True", "Neither", "False"),
        "False",
    ),
    (
        "glue_qnli",
        {"question": "When does it rain?", "sentence": "It rains at noon.", "label": 0, "idx": 0},
        "When does it rain?\nIt rains at noon.\nQuestion: Can the first question be answered from this sentence?\nAnswer:",
        ("yes", "no"),
        "yes",
    ),
    (
        "glue_rte",
        {**PAIR, "label": 1},
        "It rains.\nQuestion: It is wet. True or False?\nAnswer:",
        ("True", "False"),
        "False",
    ),
    (
        "glue_wnli",
        {**PAIR, "label": 1},
        "It rains.\nQuestion: It is wet. True or False?\nAnswer:",
        ("False", "True"),
        "True",
    ),
    (
        "superglue_boolq",
        {"question": "is rain wet", "passage": "Rain -- Rain is wet.", "label": 1, "idx": 0},
        "Rain -- Rain is wet.\nQuestion: is rain wet?\nAnswer:",
        ("no", "yes"),
        "yes",
    ),
    (
        "superglue_cb",
        {**PREMISED, "label": 1},
        "It rains.\nQuestion: It is wet. True, False, or Neither?\nAnswer:",
        ("True", "False", "Neither"),
        "False",
    ),
    (
        "superglue_rte",
        {**PREMISED, "hypothesis": "It is wet.", "label": 0},
        "It rains.\nQuestion: It is wet. True or False?\nAnswer:",
        ("True", "False"),
        "True",
    ),
    (
        "superglue_axb",
        {**PAIR, "label": 1},
        "It rains.\nQuestion: It is wet. True or False?\nAnswer:",
        ("True", "False"),
        "False",
    ),
    (
        "superglue_axg",
        {**PREMISED, "hypothesis": "It is wet.", "label": 0},
        "It rains.\nQuestion: It is wet. True or False?\nAnswer:",
        ("True", "False"),
        "True",
    ),
    (
        "superglue_wic",
        {
            "word": "bank",
            "sentence1": "A bank of sand.",
            "sentence2": "Banks lend.",
            **{"start1": 2, "end1": 6, "start2": 0, "end2": 5, "idx": 0, "label": 0},
        },
        "A bank of sand.\nBanks lend.\nQuestion: Is the word 'bank' used in the same way in the two sentences above?\nAnswer:",
        ("no", "yes"),
        "no",
    ),
    (
        "arc_easy",
        {"id": "x", "question": "What is water as a gas?", "choices": SCIENCE, "answerKey": "2"},
        "Question: What is water as a gas?\nAnswer:",
        ("ice", "steam", "snow"),
        "steam",
    ),
    (
        "openbookqa",
        {
            "id": "x",
            "question_stem": "Water as a gas is",
            "choices": {"text": ["ice", "steam", "fog", "hail"], "label": [*"ABCD"]},
            "answerKey": "B",
        },
        "Water as a gas is",
        ("ice", "steam", "fog", "hail"),
        "steam",
    ),
    (
        "commonsense_qa",
        {
            "id": "x",
            "question": "Where is tea?",
            "question_concept": "tea",
            "choices": {"label": [*"ABC"], "text": ["sky", "pot", "moon"]},
            "answerKey": "B",
        },
        "Question: Where is tea?\nAnswer:",
        ("sky", "pot", "moon"),
        "pot",
    ),
    (
        "piqa",
        {"goal": "Dry a shirt", "sol1": "Hang it up. ", "sol2": "Drown it.", "label": 0},
        "Question: Dry a shirt\nAnswer:",
        ("Hang it up.", "Drown it."),
        "Hang it up.",
    ),
    (
        "social_i_qa",
        {"context": "Ann fell.", "question": "How is Ann?", "answerA": "fine", "answerB": "rich", "answerC": "hurt", "label": "3"},
        "Ann fell.\nQuestion: How is Ann?\nAnswer:",
        ("fine", "rich", "hurt"),
        "hurt",
    ),
    (
        "sciq",
        {
            "question": "What falls?",
            "distractor3": "sun",
            "distractor1": "air",
            "distractor2": "sky",
            "correct_answer": "rain",
            "support": "Rain falls.",
        },
        "Rain falls.\nQuestion: What falls?\nAnswer:",
        ("air", "rain", "sky", "sun"),
        "rain",
    ),
    (
        "sciq",
        {
            "question": "What falls?",
            "distractor3": "sun",
            "distractor1": "air",
            "distractor2": "sky",
            "correct_answer": "rain",
            "support": "",
        },
        "Question: What falls?\nAnswer:",
        ("air", "rain", "sky", "sun"),
        "rain",
    ),
]


@pytest.mark.parametrize(("name", "row", "prompt", "choices", "right"), CLASSIFIED, ids=[case[0] for case in CLASSIFIED])
def test_first_wording(tmp_path: Path, name: str, row: Row, prompt: str, choices: tuple[str, ...], right: str) -> None:
    shown = show(tmp_path, name, row)
    assert shown.text() == prompt
    assert shown.question().choices == choices
    assert [choices[target] for target in shown.question().targets] == [right]


def test_every_wording_has_its_labels_in_the_order_of_the_data(tmp_path: Path) -> None:
    """An entailed pair, whose right answer must say so in each template, whichever index its dataset gives entailment."""
    affirming = {"True", "yes", "entailment", "it is true"}
    for name, label in (("glue_rte", 0), ("glue_wnli", 1), ("glue_mnli_matched", 0), ("superglue_cb", 0), ("superglue_axb", 0)):
        row = {**(PREMISED if name in ("glue_mnli_matched", "superglue_cb") else PAIR), "label": label}
        shown = show(tmp_path, name, row)
        for template in shown.task.templates:
            assert set(shown.question(0, template.name).references) <= affirming, (name, template.name)


def test_stsb_by_expected_grade(tmp_path: Path) -> None:
    """Grades near the people's, in order: the correlations are those of (0, 2, 5) with (0.4, 2.5, 5.0)."""
    shown = show(tmp_path, "glue_stsb", *({**PAIR, "label": label} for label in (0.4, 2.5, 5.0)))
    assert shown.question().choices == ("0", "1", "2", "3", "4", "5")
    assert [shown.question(item).references[0] for item in range(3)] == ["0", "2", "5"]
    sure = [outcome(shown, item, grade) for item, grade in enumerate((0, 2, 5))]
    sharp = [
        ChoiceOutcome(tuple(1000 * (value + 1) for value in one.logprobs), one.targets, one.choices, one.tokens, one.labels) for one in sure
    ]
    found = scores(shown.task, sharp)
    assert found["pearson"] == pytest.approx(np.corrcoef([0, 2, 5], [0.4, 2.5, 5.0])[0, 1])
    assert found["spearman"] == pytest.approx(1.0)


def test_stsb_by_generated_number(tmp_path: Path) -> None:
    shown = show(tmp_path, "glue_stsb_generate", *({**PAIR, "label": label} for label in (0.4, 2.5, 5.0)))
    assert [shown.question(item).references for item in range(3)] == [("0.4",), ("2.5",), ("5.0",)]
    said = [
        TextOutcome(text, shown.question(item).references, shown.question(item).labels) for item, text in enumerate(("5.0", " 3", "0.2"))
    ]
    assert scores(shown.task, said)["spearman"] == pytest.approx(-1.0)


def test_winogrande_scores_what_follows_the_blank_after_each_noun(tmp_path: Path) -> None:
    row = {"sentence": "The cup did not fit the box as the _ was big.", "option1": "cup", "option2": "box", "answer": "1"}
    shown = show(tmp_path, "winogrande", row)
    variant = TemplateVariant(shown.task, shown.task.templates[0], chat=False)
    question = variant.question(shown.items[0])
    contexts = [prompt.text + prompt.delimiter for prompt in variant.prompts(question, [])]
    assert contexts == ["The cup did not fit the box as the cup", "The cup did not fit the box as the box"]
    assert question.choices == (" was big.", " was big.")
    assert question.targets == (0,)
    shot = variant.prompts(question, [question])[1].text
    assert shot == "The cup did not fit the box as the cup was big.\n\nThe cup did not fit the box as the box"


def test_winogrande_keeps_what_touches_the_blank(tmp_path: Path) -> None:
    row = {"sentence": "Ben took the hat that was _'s.", "option1": "Ann", "option2": "Ben", "answer": "2"}
    shown = show(tmp_path, "winogrande", row)
    assert shown.question().choices == ("'s.", "'s.")
    assert shown.question().targets == (1,)
    assert shown.text(0, "natural") == "Ben took the hat that was ____'s.\nThe blank stands for"


def test_hellaswag_is_cleaned_of_wikihow_marks(tmp_path: Path) -> None:
    row = {
        "ind": 1,
        "activity_label": "Home",
        "ctx_a": "[header] How to rest [title] Sit down. [step] Take a chair.",
        "ctx_b": "now YOU",
        "ctx": "",
        "source_id": "wikihow~1",
        "endings": ["[substeps] Sit.  Rest.", "run [title] Then stop.", "[step] eat", "[title] sleep "],
        "label": "2",
    }
    shown = show(tmp_path, "hellaswag", row)
    assert shown.text() == "Home: How to rest. Sit down. Take a chair. Now you"
    assert shown.question().choices == ("Sit. Rest.", "run. Then stop.", "eat", "sleep")
    assert shown.question().references == ("eat",)
    assert shown.question().cluster == "wikihow~1"


def test_gsm8k_shows_steps_without_the_calculator_and_compares_numbers(tmp_path: Path) -> None:
    row = {"question": "Ann has 3 pens and buys 4. How many?", "answer": "She has 3+4=<<3+4=7>>7 pens.\nDone <<1*1=1>>.\n#### 1,007"}
    shown = show(tmp_path, "gsm8k", row)
    assert shown.text() == "Question: Ann has 3 pens and buys 4. How many?\nAnswer:"
    assert shown.question().references == ("She has 3+4=7 pens.\nDone .\n#### 1,007",)
    assert shown.question(0, "flan").references == ("She has 3+4=7 pens. Done . The answer is 1,007.",)
    for template in shown.task.templates:
        references = shown.question(0, template.name).references
        assert scores(shown.task, [TextOutcome("3 and 4 make\n#### 1007", references)]) == {"exact_number": 1.0}
        assert scores(shown.task, [TextOutcome("1007 it is not, but 7.", references)]) == {"exact_number": 0.0}


EXAM = {"question": " Which is even?", "subject": "college_biology", "choices": ["one", " two", "three", "five"], "answer": 1}


def test_mmlu_scores_letters(tmp_path: Path) -> None:
    shown = show(tmp_path, "mmlu_college_biology", EXAM)
    lead = "The following are multiple choice questions (with answers) about college biology.\n\n"
    assert shown.text() == f"{lead}Which is even?\nA. one\nB.  two\nC. three\nD. five\nAnswer:"
    assert shown.question().references == ("B",)


def test_mmlu_cloze_scores_answer_texts(tmp_path: Path) -> None:
    shown = show(tmp_path, "mmlu_cloze_college_biology", EXAM)
    assert shown.text().endswith("\n\nQuestion: Which is even?\nAnswer:")
    assert shown.question().choices == ("one", "two", "three", "five")
    assert shown.question().references == ("two",)
    assert [spec.options.get("normalize") for spec in shown.task.metrics] == [None, "characters", "pmi"]
    for template in shown.task.templates:
        assert "two" not in shown.text(0, template.name)
        assert TemplateVariant(shown.task, template, chat=False).unconditional().text


@pytest.mark.parametrize(
    ("said", "right"),
    [(" B", 1.0), ("B. two", 1.0), ("The answer is (B).", 1.0), ("(B)", 1.0), ("C, not B", 0.0), ("Bears", 0.0), ("b", 0.0), ("", 0.0)],
)
@pytest.mark.parametrize("template", ["paper", "instruction", "flan"])
def test_mmlu_generate_compares_the_first_letter(tmp_path: Path, said: str, right: float, template: str) -> None:
    shown = show(tmp_path, "mmlu_generate_college_biology", EXAM)
    references = shown.question(0, template).references
    assert scores(shown.task, [TextOutcome(said, references)]) == {"exact_match": right}


def test_bbh_shows_three_other_items(tmp_path: Path) -> None:
    rows = [{"input": f"What is {number} + 1?", "target": str(number + 1)} for number in range(6)]
    shown = show(tmp_path, "bbh_object_counting", *rows, rows[0])
    assert shown.text(0) == "Your task: count the things of one kind in a list.\n\nQ: What is 0 + 1?\nA:"
    variant = TemplateVariant(shown.task, shown.task.templates[0], chat=False)
    for item in shown.items:
        shots = draw_shots(shown.task, shown.items, item, 3, seed=0)
        assert len({shot.id for shot in shots}) == 3
        assert item.row["input"] not in [shot.row["input"] for shot in shots]
        text = variant.prompt(variant.question(item), [variant.question(shot) for shot in shots]).text
        assert text.count("Your task:") == 1
        assert text.count("\nQ: ") == 4
