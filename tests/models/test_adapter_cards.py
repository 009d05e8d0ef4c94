"""Cards find weights for each base; merged, saved and quantized adapters score as they should and leave the base as it was."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.contract import Generate
from harness.errors import AdapterError, ModelError
from harness.models import adapter_cards, adapters, attachment, cards
from harness.models.adapter_cards import AdapterCard, Losses, Training
from tests.engine.architectures import engine, load
from tests.engine.reference import greedy
from tests.models.test_adapters import far, found, lora, make, method, scores, with_adapter


@pytest.fixture(scope="module")
def bases(llama: Path, t5: Path) -> dict[str, Path]:
    return {"causal": llama, "seq2seq": t5}


@pytest.fixture
def shelf(in_tmp: Path) -> Path:
    """./adapters, empty."""
    (in_tmp / "adapters").mkdir()
    return in_tmp / "adapters"


def trained(**changes: Any) -> Training:
    given: dict[str, Any] = {
        "method": "lora",
        "base": "tiny-llama",
        "base_digest": "0" * 64,
        "architecture": "causal",
        "dtype": "float32",
        "chat": False,
        "settings": {"rank": 4, "tasks": ["x"]},
        "recipe": "--method lora --task x --rank 4",
        "data": (),
        "data_digest": "1" * 64,
        "too_long": 0,
        "trainable": 10,
        "share": 0.5,
        "bytes": 100,
        "digest": "2" * 64,
        "steps": 3,
        "best_step": 2,
        "tokens": 50,
        "seconds": 1.0,
        "peak_memory_bytes": 1,
        "device": "CPU, 1 threads",
        "losses": Losses(first=2.0, last=1.0),
        "scores": {},
        "versions": {},
    }
    return Training(**given | changes)


def record(folder: Path, **changes: Any) -> None:
    (folder / adapter_cards.RECORD_NAME).write_text(adapter_cards.yaml_text(trained(**changes)))


def test_a_card_survives_its_file(shelf: Path) -> None:
    card = AdapterCard(name="mine", title="ü", method="lora", weights={"tiny-llama": "w"}, training={"tiny-llama": trained()})
    (shelf / "mine.yaml").write_text(card.text())
    assert adapter_cards.cards()["mine"] == (card, shelf / "mine.yaml")
    assert card.recipe == "--method lora --task x --rank 4"
    assert "notes" not in card.text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\n", "weights: Field required"),
        ("name: x\nweights: {a: b}\nmethdo: lora\n", "methdo: Extra inputs"),
        ("[", "not an adapter card"),
        ("just words", "not an adapter card"),
    ],
)
def test_a_file_that_is_no_card_is_one_message(shelf: Path, text: str, words: str) -> None:
    (shelf / "bad.yaml").write_text(text)
    with pytest.raises(AdapterError, match=words) as caught:
        adapter_cards.cards()
    assert str(shelf / "bad.yaml") in caught.value.what


def test_a_base_that_a_card_lacks_is_answered_with_how_to_make_it(bases: dict[str, Path], shelf: Path) -> None:
    card = AdapterCard(name="mine", weights={"flan-t5-base": "w", "gpt2": "v"}, training={"gpt2": trained()})
    (shelf / "mine.yaml").write_text(card.text())
    with pytest.raises(AdapterError, match="no weights for tiny-llama, only for flan-t5-base, gpt2") as caught:
        found(bases["causal"], Path("mine"))
    assert caught.value.remedy == "Train them: harness tune --model tiny-llama --method lora --task x --rank 4 --name mine"


def test_a_card_of_ones_own_adds_a_base_to_one_of_the_same_name(
    bases: dict[str, Path], shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "home" / "adapters"
    make(bases["causal"], shelf / "w", lora("causal"))
    make(bases["seq2seq"], mine / "w", lora("seq2seq"))
    (shelf / "both.yaml").write_text("name: both\nweights: {tiny-llama: w}\n")
    (mine / "both.yaml").write_text("name: both\nweights: {tiny-t5: w}\n")
    monkeypatch.setenv("HARNESS_PATH", str(mine.parent))
    assert found(bases["causal"], Path("both")).folder == shelf / "w"
    assert found(bases["seq2seq"], Path("both")).folder == mine / "w"
    (mine / "both.yaml").write_text("name: both\nweights: {tiny-t5: w, tiny-llama: w}\n")
    assert found(bases["causal"], Path("both")).folder == mine / "w"


def test_weights_that_a_card_promises_and_are_not_there(bases: dict[str, Path], shelf: Path) -> None:
    (shelf / "mine.yaml").write_text("name: mine\nweights: {tiny-llama: gone}\n")
    with pytest.raises(AdapterError, match="this folder does not exist"):
        found(bases["causal"], Path("mine"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("acme/lora", ("acme/lora", None)), ("acme/lora@v2", ("acme/lora", "v2")), ("carded", ("acme/other", "v3"))],
)
def test_hub_ids_may_end_in_a_revision(
    bases: dict[str, Path], shelf: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: tuple[str, str | None]
) -> None:
    good = make(bases["causal"], shelf / "w", lora("causal"))
    (shelf / "carded.yaml").write_text("name: carded\nweights: {tiny-llama: acme/other@v3}\n")
    asked = []

    def fetch(hub: str, revision: str | None, *, pickles: bool = False) -> Path:
        asked.append((hub, revision))
        return good

    monkeypatch.setattr(adapters, "fetch", fetch)
    adapter = found(bases["causal"], Path(name))
    assert asked == [expected]
    assert adapter.name == ("carded" if name == "carded" else "lora")
    assert adapter.digest == found(bases["causal"], good).digest


def test_a_revision_that_is_not_there_is_told(bases: dict[str, Path], shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(hub: str, revision: str | None, *, pickles: bool = False) -> Path:
        raise ModelError(f"The model {hub} has no revision {revision!r}.", "Check --revision.")

    monkeypatch.setattr(adapters, "fetch", fetch)
    with pytest.raises(AdapterError, match=r"The adapter acme/lora has no revision 'v9'") as caught:
        found(bases["causal"], Path("acme/lora@v9"))
    assert caught.value.remedy == "Check 'acme/lora@v9'."


def test_snapshots_in_the_data_folder_come_before_the_hub(bases: dict[str, Path], tmp_path: Path) -> None:
    make(bases["causal"], tmp_path / "acme" / "lora", lora("causal"))
    assert found(bases["causal"], Path("acme/lora"), data=tmp_path).folder == tmp_path / "acme" / "lora"


@pytest.mark.parametrize(
    ("name", "task"),
    [("lora", "causal"), ("dora", "causal"), ("ia3", "causal"), ("saved", "causal"), ("lora", "seq2seq"), ("embeddings", "causal")],
)
def test_a_merged_adapter_scores_as_it_does_unmerged(bases: dict[str, Path], tmp_path: Path, name: str, task: str) -> None:
    base = bases[task]
    folder = make(base, tmp_path / "adapter", method(name, task))
    loaded = load(base)
    before = {key: value.clone() for key, value in loaded.module.state_dict().items()}
    beside, merged = found(base, folder), found(base, folder, merge=True)
    assert (merged.name, merged.merge) == ("adapter-merged", True)
    assert merged.digest != beside.digest
    assert far(with_adapter(loaded, merged), with_adapter(loaded, beside)) < 1e-4
    assert far(with_adapter(loaded, merged), scores(loaded.module, loaded)) > 0.01
    after = loaded.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items()), "the base is the same to the last bit"


@pytest.mark.parametrize("task", ["causal", "seq2seq"])
def test_pefts_own_merge_agrees_with_ours(bases: dict[str, Path], tmp_path: Path, task: str) -> None:
    from peft import PeftModel

    base = bases[task]
    folder = make(base, tmp_path / "adapter", lora(task))
    theirs = load(base)
    module = PeftModel.from_pretrained(theirs.module, str(folder)).merge_and_unload().eval()
    theirs_merged = replace(theirs, module=module)
    loaded = load(base)
    for merge in (False, True):
        with attachment.attached(loaded, found(base, folder, merge=merge)) as attached:
            assert far(scores(attached.module, loaded), scores(module, theirs)) < 1e-4
            requests = [Generate(f"g{n}", tuple(range(5, 7 + 3 * n)), 6) for n in range(3)]
            ours = {one.id: one for batch in engine(replace(loaded, module=attached.module)).generate(requests) for one in batch}
            assert ours == greedy(theirs_merged, requests)


@pytest.mark.parametrize("task", ["causal", "seq2seq"])
@pytest.mark.parametrize("merge", [False, True])
def test_a_lora_whose_b_is_zero_scores_exactly_as_the_base(bases: dict[str, Path], tmp_path: Path, task: str, merge: bool) -> None:
    folder = make(bases[task], tmp_path / "zero", lora(task), fill=False)
    loaded = load(bases[task])
    plain = scores(loaded.module, loaded)
    with attachment.attached(loaded, found(bases[task], folder, merge=merge)) as attached:
        assert scores(attached.module, loaded) == plain


def test_a_soft_prompt_cannot_be_merged(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = make(bases["causal"], tmp_path / "prompt", method("prompt", "causal"))
    loaded = load(bases["causal"])
    with (
        pytest.raises(AdapterError, match="soft prompt: there is nothing to merge"),
        attachment.attached(loaded, found(bases["causal"], folder, merge=True)),
    ):
        pass


def test_merging_in_half_precision_is_told(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = make(bases["causal"], tmp_path / "adapter", lora("causal"))
    loaded = load(bases["causal"], dtype="bfloat16")
    with attachment.attached(loaded, found(bases["causal"], folder, merge=True)) as attached:
        assert [("merged in bfloat16" in warning) for warning in attached.warnings] == [True]
    with attachment.attached(loaded, found(bases["causal"], folder)) as attached:
        assert attached.warnings == ()


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_a_quantized_base_carries_adapters_but_is_never_merged_into(bases: dict[str, Path], tmp_path: Path, quantize: Any) -> None:
    folder = make(bases["causal"], tmp_path / "adapter", lora("causal"))
    loaded = load(bases["causal"], quantize=quantize)
    plain = scores(loaded.module, loaded)
    assert far(with_adapter(loaded, found(bases["causal"], folder)), plain) > 0.01
    assert scores(loaded.module, loaded) == plain
    with (
        pytest.raises(AdapterError, match=f"cannot be merged into a {quantize} base"),
        attachment.attached(loaded, found(bases["causal"], folder, merge=True)),
    ):
        pass


def test_an_adapter_of_a_quantized_base_is_scored_on_that_base(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = make(bases["causal"], tmp_path / "adapter", lora("causal"))
    adapters.check_precision(found(bases["causal"], folder), None)
    adapters.check_precision(found(bases["causal"], folder), "4bit")
    record(folder, quantization="4bit", method="qlora")
    adapter = found(bases["causal"], folder)
    adapters.check_precision(adapter, "4bit")
    for other, words in ((None, "full precision"), ("8bit", "8bit")):
        with pytest.raises(AdapterError, match=f"trained on the 4bit base; .* {words}") as caught:
            adapters.check_precision(adapter, other)
        assert "--quantize 4bit" in caught.value.remedy
        assert "--any-base" in caught.value.remedy
    with pytest.raises(AdapterError, match="trained on a 4bit base; merged, it would be another model"):
        found(bases["causal"], folder, merge=True)


def test_weights_of_another_base_of_the_same_name_are_told(bases: dict[str, Path], tmp_path: Path) -> None:
    from harness.models.digests import model_digest

    folder = make(bases["causal"], tmp_path / "adapter", lora("causal"))
    loaded = load(bases["causal"])
    for digest, told in ((model_digest(bases["causal"]), 0), ("f" * 64, 1)):
        record(folder, base_digest=digest)
        with attachment.attached(loaded, found(bases["causal"], folder)) as attached:
            assert len(attached.warnings) == told
            assert all("other weights of tiny-llama" in warning for warning in attached.warnings)


def test_a_fully_tuned_model_takes_the_bases_place(bases: dict[str, Path], shelf: Path) -> None:
    tuned = shelf / "tuned"
    shutil.copytree(bases["causal"], tuned)
    weights = load_file(tuned / "model.safetensors")
    save_file({name: value + 0.05 for name, value in weights.items()}, tuned / "model.safetensors", {"format": "pt"})
    with pytest.raises(AdapterError, match="is not an adapter"):
        found(bases["causal"], tuned)
    record(tuned, method="full")
    (shelf / "mine.yaml").write_text("name: mine\nweights: {tiny-llama: tuned}\n")
    loaded, alone = load(bases["causal"]), load(tuned)
    plain = scores(loaded.module, loaded)
    for name in ("mine", str(tuned)):
        adapter = found(bases["causal"], Path(name))
        assert adapter.full
        adapters.check_base(adapter, cards.resolve(str(bases["causal"])))
        with attachment.attached(loaded, adapter) as attached:
            assert scores(attached.module, loaded) == scores(alone.module, alone)
            assert attached.parameters == loaded.parameters
    assert scores(loaded.module, loaded) == plain
    with pytest.raises(AdapterError, match="nothing to merge"):
        found(bases["causal"], tuned, merge=True)


def saved_embeddings(base: Path, folder: Path, rows: int = 0) -> Path:
    """An adapter whose file brings embeddings for the base, as peft writes them where those were trained, and `rows` more of them."""
    make(base, folder, lora("causal"))
    weights = load_file(folder / "adapter_model.safetensors")
    own = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    torch.manual_seed(3)
    weights["base_model.model.model.embed_tokens.weight"] = torch.cat([own + 0.3 * torch.randn_like(own), own[:rows]])
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


def test_saved_embeddings_are_used_and_the_base_gets_its_own_back(bases: dict[str, Path], tmp_path: Path) -> None:
    base = bases["causal"]
    with_rows = saved_embeddings(base, tmp_path / "rows")
    without = make(base, tmp_path / "plain", lora("causal"))
    loaded = load(base)
    plain = scores(loaded.module, loaded)
    own = load(base)
    own.module.get_input_embeddings().weight.data.copy_(
        load_file(with_rows / "adapter_model.safetensors")["base_model.model.model.embed_tokens.weight"]
    )
    expected = with_adapter(own, found(base, without))
    assert with_adapter(loaded, found(base, with_rows)) == expected
    assert scores(loaded.module, loaded) == plain
    assert far(expected, with_adapter(loaded, found(base, without))) > 0.01


def test_embeddings_of_another_size_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    base = bases["causal"]
    folder = saved_embeddings(base, tmp_path / "rows", rows=2)
    loaded = load(base)
    plain = scores(loaded.module, loaded)
    with (
        pytest.raises(AdapterError, match=r"does not fit tiny-llama: size mismatch for .*embed_tokens") as caught,
        attachment.attached(loaded, found(base, folder)),
    ):
        pass
    assert "never resizes" in caught.value.remedy
    assert scores(loaded.module, loaded) == plain


def test_attaching_asks_no_hub(bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(bases["causal"], tmp_path / "adapter", lora("causal"))
    path = folder / "adapter_config.json"
    path.write_text(path.read_text().replace(str(bases["causal"]), "acme/tiny-llama"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", refuse)
    with_adapter(load(bases["causal"]), found(bases["causal"], folder))
