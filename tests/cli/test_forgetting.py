"""`harness forgetting` as a user calls it: on a tiny model with adapters, on results that exist, and on what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from harness.compare.pairing import Results
from harness.evaluation.perplexity_text import TASK
from harness.store import runs
from tests.cli.conftest import Call, forbid_model
from tests.tasks.cases import content, write_rows, write_yaml

ITEMS = 30
TEXT = "\n\n".join(f"Paragraph {number}. " + "The dog sleeps in the garden. " * (number % 5 + 3) for number in range(16))


def adapter(base: Path, folder: Path, size: float) -> Path:
    """A LoRA adapter of random weights of this size."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    torch.manual_seed(1)
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM")
    module: Any = get_peft_model(LlamaForCausalLM.from_pretrained(base), settings)
    with torch.no_grad():
        for value in module.parameters():
            if value.requires_grad:
                value.copy_(torch.randn_like(value) * size)
    module.peft_config["default"].base_model_name_or_path = str(base)
    module.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapters(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One that changes next to nothing, and one that changes much."""
    place = tmp_path_factory.mktemp("adapters")
    return adapter(tiny, place / "slight", 0.001), adapter(tiny, place / "strong", 0.5)


@pytest.fixture
def tasks(in_tmp: Path) -> Path:
    """Three tasks and a text in the working folder."""
    rows = [
        {"thing": f"thing {number}", "label": number % 2, "kind": ("odd", "even")[number % 2], "text": f"the cat number {number} sat"}
        for number in range(ITEMS)
    ]
    write_rows(in_tmp / "rows.jsonl", rows)
    template_variants = [{"name": "plain", "prompt": "What colour is {{ thing }}?"}, {"name": "other", "prompt": "{{ thing }} is"}]
    write_yaml(in_tmp / "colours.yaml", content(task="colours", labels={"kind": "kind"}, templates=template_variants))
    form: dict[str, Any] = {"choices": None, "target": "text"}
    write_yaml(in_tmp / "say.yaml", content(task="say", answer="generate", generation={"max_new_tokens": 4}, metrics=["chrf"], **form))
    write_yaml(in_tmp / "read.yaml", content(task="read", answer="score_text", metrics=["bits_per_byte"], **form))
    (in_tmp / "wiki.txt").write_text(TEXT)
    return in_tmp


def report(path: str = "report.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(path).read_text())
    return found


def test_base_and_adapters_are_scored_and_compared(call: Call, tiny: Path, adapters: tuple[Path, Path], tasks: Path) -> None:
    slight, strong = adapters
    done = call(
        *("forgetting", "--model", tiny, "--adapter", f"{slight},{strong}", "--tasks", "colours.yaml,read.yaml", "--target", "say.yaml"),
        *("--text", "wiki.txt", "--md", "report.md", "--json", "report.json", "--html", "report.html", "--output", "out"),
    )
    assert done.code == 0, done.err
    assert "To compare them again: harness compare out/tiny out/tiny+slight out/tiny+strong" in done.err
    words = " ".join(done.out.split())
    for part in (
        "Fine-tuned from tiny",
        "tiny+slight against tiny",
        "tiny+strong against tiny",
        "fine-tuned on say",
        TASK,
        "colours",
        "read",
    ):
        assert part in words, part
    one, other = report()["comparisons"]
    assert [task["name"] for task in one["tasks"]] == ["colours", "read", "say", TASK]
    assert [task["target"] for task in one["tasks"]] == [False, False, True, False]
    read = {name: next(task for task in found["tasks"] if task["name"] == "read") for name, found in (("one", one), ("other", other))}
    assert read["one"]["verdict"] == "retained"
    assert abs(read["other"]["scores"]["bits_per_byte"]["difference"]) > abs(read["one"]["scores"]["bits_per_byte"]["difference"])
    assert report()["noise"] is None
    assert "tiny+strong" in Path("report.html").read_text()
    html = MarkdownIt("commonmark").enable("table").render(Path("report.md").read_text())
    assert html.startswith("<h2>Fine-tuned from tiny</h2>")
    assert html.count("<h3>") == 2


def test_the_same_comes_from_the_results_alone(
    call: Call, tiny: Path, adapters: tuple[Path, Path], tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slight, strong = adapters
    arguments = ("-m", tiny, "-a", slight, "-a", strong, "-t", "colours.yaml", "-t", "read.yaml", "--target", "read")
    first = call("forgetting", *arguments, "--json", "first.json")
    assert first.code == 0, first.err
    forbid_model(monkeypatch)
    folders = [f"results/tiny{name}" for name in ("", "+slight", "+strong")]
    again = call("forgetting", "--before", folders[0], "--after", *folders[1:], "--target", "re*", "--json", "again.json")
    assert (again.code, again.err) == (0, "")
    assert again.out == first.out
    found, kept = report("again.json"), report("first.json")
    for one, other in zip(found["comparisons"], kept["comparisons"], strict=True):
        assert (one["tasks"], one["overall"]) == (other["tasks"], other["overall"])
    separate = call(
        "forgetting", "--before", folders[0], "--after", folders[1], "--after", f"{folders[2]}/results.json", "--target", "read"
    )
    assert separate.out == first.out


def test_only_the_tasks_asked_for_are_compared(call: Call, tiny: Path, adapters: tuple[Path, Path], tasks: Path) -> None:
    """The folders may hold more from earlier runs."""
    base = ("forgetting", "-m", tiny, "-a", adapters[0], "--json", "report.json")
    assert call(*base, "-t", "colours.yaml,read.yaml").code == 0
    assert call(*base, "-t", "say.yaml").code == 0
    assert [task["name"] for task in report()["comparisons"][0]["tasks"]] == ["say"]
    assert set(runs.read(Path("results/tiny")).tasks) == {"colours", "read", "say"}
    done = call(
        "forgetting", "--before", "results/tiny", "--after", "results/tiny+slight", "--tasks", "r*,say.yaml", "--json", "report.json"
    )
    assert done.code == 0, done.err
    assert [task["name"] for task in report()["comparisons"][0]["tasks"]] == ["read", "say"]


def test_noise_is_measured_in_other_batches_and_shown_beside(call: Call, tiny: Path, adapters: tuple[Path, Path], tasks: Path) -> None:
    arguments = ("-m", tiny, "-a", adapters[1], "-t", "colours.yaml,read.yaml", "--noise", "--batch-tokens", 400)
    done = call("forgetting", *arguments, "--json", "report.json")
    assert done.code == 0, done.err
    assert Path("results/tiny/noise/responses-150.sqlite").is_file(), "three eighths of the first batches"
    assert "noise" in done.out
    assert "0 flips, " in done.out
    assert report()["noise"]["colours"]["flips"] == 0
    assert 0 < report()["noise"]["read"]["largest"] < 1e-3
    assert report()["noise"]["read"]["difference"] < 1e-5
    requests = runs.read(Path("results/tiny/noise")).efficiency.requests
    assert (requests.computed, requests.cached) == (2 * ITEMS, 0), "every answer is computed again"
    again = call("forgetting", "--before", "results/tiny", "--after", "results/tiny+strong", "--noise")
    assert (again.code, again.out) == (0, done.out)


def test_the_second_scoring_does_not_take_the_place_of_the_first(call: Call, tiny: Path, adapters: tuple[Path, Path], tasks: Path) -> None:
    arguments = ("forgetting", "-m", tiny, "-a", adapters[0], "-t", "read.yaml")
    assert call(*arguments).code == 0
    before = (Path("results/tiny/samples/read.jsonl")).read_bytes()
    assert call(*arguments, "--noise").code == 0
    assert call(*arguments).code == 0
    assert Path("results/tiny/samples/read.jsonl").read_bytes() == before
    assert runs.read(Path("results/tiny")).efficiency.requests.computed == 0


@pytest.mark.parametrize("options", [(), ("--limit", 2), ("--template", "other")], ids=["plain", "limit", "template"])
def test_a_text_is_scored_whole_whatever_the_tasks_settings(
    call: Call, tiny: Path, adapters: tuple[Path, Path], tasks: Path, options: tuple[object, ...]
) -> None:
    done = call(
        "forgetting", "-m", tiny, "-a", adapters[1], "-t", "colours.yaml", "--text", "wiki.txt", *map(str, options), "--json", "report.json"
    )
    assert done.code == 0, done.err
    found = {task["name"]: task for task in report()["comparisons"][0]["tasks"]}
    assert set(found) == {"colours", TASK}
    assert found["colours"]["items"] == (2 if "--limit" in options else ITEMS)
    kept = Results.read(Path("results/tiny")).task_samples(TASK, None).samples
    assert "\n\n".join(str(sample.target) for sample in kept) == "\n\n".join(part.strip() for part in TEXT.split("\n\n"))
    score = found[TASK]["scores"]["bits_per_byte"]
    assert score["before"] > 0
    assert score["items"] == len(kept) > 3


def test_details_and_items(call: Call, tiny: Path, other_tiny: Path, tasks: Path) -> None:
    for model, name in ((tiny, "one"), (other_tiny, "two")):
        assert call("run", "-m", model, "-t", "colours.yaml,say.yaml", "--output", name).code == 0
    brief = call("forgetting", "--before", "one", "--after", "two").out
    whole = call("forgetting", "--before", "one", "--after", "two", "--details", "--items", 3).out
    assert len(whole.splitlines()) > len(brief.splitlines())
    assert "Every kind of items" in whole
    assert "kind" in whole
    assert whole.count("  prompt  What colour is thing") <= 2 * 3
    assert "  prompt  " not in call("forgetting", "--before", "one", "--after", "two", "--details", "--items", 0).out


def test_margins_can_be_given(call: Call, tiny: Path, other_tiny: Path, tasks: Path) -> None:
    for model, name in ((tiny, "one"), (other_tiny, "two")):
        assert call("run", "-m", model, "-t", "read.yaml", "--output", name).code == 0
    done = call("forgetting", "--before", "one", "--after", "two", "--margin", "read=5", "--json", "report.json")
    assert done.code == 0
    task = report()["comparisons"][0]["tasks"][0]
    assert (task["verdict"], task["scores"]["bits_per_byte"]["margin"]) == ("retained", 5.0)


def test_the_schema_is_printed_without_more(call: Call) -> None:
    done = call("forgetting", "--schema")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["title"] == "ForgettingRecord"


@pytest.fixture
def one(call: Call, tiny: Path, tasks: Path) -> str:
    assert call("run", "-m", tiny, "-t", "colours.yaml", "--output", "one").code == 0
    return "one"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Nothing to compare"),
        (("-m", "x"), "Nothing to compare"),
        (("-m", "x", "-a", "y"), "Nothing to compare"),
        (("-m", "x", "-a", "none", "-t", "colours.yaml"), "Nothing to compare"),
        (("--before", "one"), "--before needs --after"),
        (("--after", "one"), "--after needs --before"),
        (("--before", "one", "--after", "nowhere"), "There is no run at"),
        (("--before", "one", "--after", "one", "--model", "x"), "--model applies to evaluating models"),
        (("--before", "one", "--after", "one", "--text", "wiki.txt"), "--text applies to evaluating models"),
        (("--before", "one", "--after", "one", "--limit", "3"), "--limit applies to evaluating models"),
        (("--before", "one", "--after", "one", "--no-chat"), "--chat applies to evaluating models"),
        (("--before", "one", "--after", "one", "--noise"), "one has no second scoring in one/noise"),
        (("--before", "one", "--after", "one", "--target", "colors"), "The target 'colors' is not in both results"),
        (("--before", "one", "--after", "one", "--tasks", "z*"), "The task 'z*' is not in both results"),
        (("--before", "one", "--after", "one", "--margin", "colours"), "--margin takes NAME=LOSS"),
        (("--before", "one", "--after", "one", "--margin", "colours=-1"), "a loss of at least 0"),
        (("--before", "one", "--after", "one", "--margin", "colors=0.1"), "Did you mean colours"),
        (("--before", "one", "--after", "one", "--margin", "colours.acc=0.1"), "--margin 'colours.acc' names none"),
        (("--before", "one", "--after", "one", "--items", "-1"), "'--items'"),
        (("--before", "one", "--after", "one", "--items", "99999999999"), "'--items'"),
        (("--before", "one", "--after", "one", "--md", "."), "Cannot write ."),
        (("--before", "one", "--after", "one", "--json", "rows.jsonl/x.json"), "Cannot write rows.jsonl/x.json"),
    ],
)
def test_bad_input(call: Call, one: str, arguments: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_model(monkeypatch)
    assert told in call("forgetting", *arguments).message


def test_bad_input_of_a_run_is_told_before_the_model_is_loaded(
    call: Call, tiny: Path, adapters: tuple[Path, Path], tasks: Path, no_model: None
) -> None:
    base = ("forgetting", "-m", tiny, "-a", adapters[0])
    assert "Unknown task" in call(*base, "-t", "glue_rta").message
    assert "Unknown adapter" in call("forgetting", "-m", tiny, "-a", "nowhere", "-t", "colours.yaml").message
    assert "Cannot read the text nowhere.txt" in call(*base, "-t", "colours.yaml", "--text", "nowhere.txt").message
    Path("empty.txt").write_text("")
    assert "empty.txt contains no text" in call(*base, "-t", "colours.yaml", "--text", "empty.txt").message
    assert "Cannot write" in call(*base, "-t", "colours.yaml", "--md", ".").message
    assert "Cannot write" in call(*base, "-t", "colours.yaml", "--html", "/dev/null").message
    assert "Did you mean colours" in call(*base, "-t", "colours.yaml", "--margin", "colors=0.1").message
    assert "--batch-tokens takes numbers from 1" in call(*base, "-t", "colours.yaml", "--batch-tokens", "99999999999").message
    assert not Path("results").exists()


def test_results_measured_otherwise_are_refused_with_the_difference(call: Call, one: str, tiny: Path) -> None:
    write_yaml(Path("colours.yaml"), content(task="colours", templates=[{"name": "plain", "prompt": "{{ thing }}"}]))
    assert call("run", "-m", tiny, "-t", "colours.yaml", "--output", "two").code == 0
    message = call("forgetting", "--before", "one", "--after", "two", "--json", "report.json").message
    assert "The settings of colours differ between one and two (template digest: " in message
    assert not Path("report.json").exists()
