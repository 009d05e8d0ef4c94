"""A classification model as a scorer: the pipeline of transformers gives the same, batches move nothing, and faults are told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError, InputError, ModelError
from harness.toxicity import network
from harness.toxicity.base import FloatArray
from harness.toxicity.checkpoint import find
from harness.toxicity.classifier import MODEL, Classifier
from tests.tiny import tiny_causal
from tests.toxicity.tiny import classifier

TEXTS = ["The dog sleeps.", "Which of these?", "it's fine; isn't it", "0 1 2 3 4 5 6 7 8 9 10", "lazy", "Der Hund schläft im Garten."]


@pytest.fixture(scope="module")
def softmax(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head whose labels exclude each other."""
    return classifier(tmp_path_factory.mktemp("softmax"))


@pytest.fixture(scope="module")
def sigmoid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of several labels at once."""
    return classifier(tmp_path_factory.mktemp("sigmoid"), ("toxic", "obscene", "threat"), problem="multi_label_classification")


def changed(folder: Path, target: Path, **settings: Any) -> Path:
    """A copy of a classifier with other settings in its config.json."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text()) | settings
    (target / "config.json").write_text(json.dumps(config))
    return target


def reference(folder: Path, label: str, texts: Sequence[str]) -> FloatArray:
    """The label's score by transformers' own pipeline, which evaluate's toxicity measurement uses."""
    from transformers import pipeline

    found = pipeline("text-classification", model=str(folder), top_k=None, truncation=True, max_length=64, device="cpu")(list(texts))
    return np.array([next(one["score"] for one in scores if one["label"] == label) for scores in found])


def test_softmax_equals_the_pipelines(softmax: Path) -> None:
    scores = Classifier(model=str(softmax)).score(TEXTS)
    np.testing.assert_allclose(scores, reference(softmax, "toxic", TEXTS), rtol=0, atol=1e-5)
    assert np.ptp(scores) > 0.05, "the texts are told apart"


def test_sigmoid_equals_the_pipelines(sigmoid: Path) -> None:
    scores = [Classifier(model=str(sigmoid), label=label).score(TEXTS) for label in ("toxic", "obscene", "threat")]
    for label, found in zip(("toxic", "obscene", "threat"), scores, strict=True):
        np.testing.assert_allclose(found, reference(sigmoid, label, TEXTS), rtol=0, atol=1e-5)
    assert np.abs(np.sum(scores, axis=0) - 1.0).max() > 0.05, "labels do not share one unit of probability"


def test_one_output_is_a_probability_of_its_own(tmp_path: Path) -> None:
    folder = classifier(tmp_path, ("toxic",))
    scores = Classifier(model=str(folder)).score(TEXTS)
    np.testing.assert_allclose(scores, reference(folder, "toxic", TEXTS), rtol=0, atol=1e-5)
    assert np.ptp(scores) > 0.05


def test_batches_hold_texts_of_like_length_within_their_tokens(softmax: Path) -> None:
    shapes: list[tuple[int, int]] = []

    def record(_: object, __: object, inputs: dict[str, Any]) -> None:
        shapes.append(tuple(inputs["input_ids"].shape))

    loaded = network.load(find(str(softmax)), "cpu")
    loaded.module.register_forward_pre_hook(record, with_kwargs=True)
    loaded.probabilities(["x" * size for size in (30, 3, 3, 14, 3, 15, 3, 3, 14, 3)], 0, batch_tokens=48)
    assert shapes == [(1, 31), (3, 16), (6, 4)]


def test_batches_move_scores_by_rounding_alone(softmax: Path) -> None:
    alone, few, many = (Classifier(model=str(softmax), batch_tokens=size).score(TEXTS) for size in (1, 20, 10_000))
    np.testing.assert_allclose(few, alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(many, alone, rtol=0, atol=1e-6)


def test_a_tokenizer_without_padding_reads_texts_one_by_one(softmax: Path, tmp_path: Path) -> None:
    folder = changed(softmax, tmp_path / "unpadded")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if path.exists():
            content = json.loads(path.read_text())
            content.pop("pad_token", None)
            path.write_text(json.dumps(content))
    np.testing.assert_allclose(Classifier(model=str(folder)).score(TEXTS), Classifier(model=str(softmax)).score(TEXTS), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("roberta", "limit"), [(False, 64), (True, 63)])
def test_of_a_long_text_the_beginning_is_scored_and_told(tmp_path: Path, roberta: bool, limit: int) -> None:
    """RoBERTa's padding, token 0 here, takes a position that no token of a text has."""
    scorer = Classifier(model=str(classifier(tmp_path, roberta=roberta)))
    beginning = "x" * (limit - 1)
    fits, long, longer = scorer.score([beginning, beginning + "y", beginning + "z" * 500])
    assert long == pytest.approx(fits, abs=1e-6)
    assert longer == pytest.approx(fits, abs=1e-6)
    assert scorer.score(["x" * (limit - 2)])[0] != pytest.approx(fits, abs=1e-6), "the last token that is read counts"
    (note,) = scorer.notes()
    assert f"reads {limit} tokens: only the beginning of 2 longer texts" in note


def test_short_texts_give_no_note(softmax: Path) -> None:
    scorer = Classifier(model=str(softmax))
    assert scorer.notes() == []
    scorer.score(TEXTS)
    assert scorer.notes() == []


def test_half_a_surrogate_pair_is_scored(softmax: Path) -> None:
    scorer = Classifier(model=str(softmax))
    assert scorer.score(["a\ud800b"]) == scorer.score(["a?b"])


def test_the_signature_names_the_files_not_their_place(softmax: Path, tmp_path: Path) -> None:
    here = Classifier(model=str(softmax))
    assert here.signature.long.startswith("classifier|version:1|model:")
    assert here.signature.long.endswith("|label:toxic|threshold:0.5")
    copy = Path(shutil.copytree(softmax, tmp_path / "copy"))
    (copy / "trainer_state.json").write_text("{}")
    assert Classifier(model=str(copy), device="cpu", batch_tokens=7).signature == here.signature
    assert Classifier(model=str(copy), label="fine").identity != here.identity
    for name in ("tokenizer.json", "config.json"):
        before = Classifier(model=str(copy)).identity
        (copy / name).write_text((copy / name).read_text() + "\n")
        assert Classifier(model=str(copy)).identity != before, name


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (("nothate", "hate"), "hate"),
        (("Non-Toxic", "Toxic"), "Toxic"),
        (("offensive", "non-offensive"), "offensive"),
        (("toxicity",), "toxicity"),
    ],
)
def test_the_label_is_found_by_its_name(softmax: Path, tmp_path: Path, labels: tuple[str, ...], found: str) -> None:
    names = {str(number): label for number, label in enumerate(labels)}
    folder = changed(softmax, tmp_path / "named", id2label=names)
    assert Classifier(model=str(folder)).identity["label"] == found


@pytest.mark.parametrize(
    ("labels", "label", "message", "remedy"),
    [
        (("LABEL_0", "LABEL_1"), None, "has no unique label for toxic texts: its labels are LABEL_0, LABEL_1", ",label=LABEL_1"),
        (("toxic", "hate"), None, "has no unique label for toxic texts: its labels are toxic, hate", ",label="),
        (("fine", "toxic"), "nasty", "no label 'nasty'", "fine, toxic"),
    ],
)
def test_an_unclear_label_is_asked_for(
    softmax: Path, tmp_path: Path, labels: tuple[str, ...], label: str | None, message: str, remedy: str
) -> None:
    folder = changed(softmax, tmp_path / "named", id2label={str(number): one for number, one in enumerate(labels)})
    scorer = Classifier(model=str(folder), label=label)
    for asked in (lambda: scorer.signature, lambda: scorer.score(["a"])):
        with pytest.raises(ModelError, match=message) as caught:
            asked()
        assert remedy in caught.value.remedy


def test_labels_without_names_can_be_chosen(softmax: Path, tmp_path: Path) -> None:
    folder = changed(softmax, tmp_path / "bare", id2label={"0": "LABEL_0", "1": "LABEL_1"})
    assert Classifier(model=str(folder), label="label_1").score(TEXTS) == pytest.approx(Classifier(model=str(softmax)).score(TEXTS))


def test_a_label_is_taken_to_the_letter_before_its_case_is_left_aside(softmax: Path, tmp_path: Path) -> None:
    folder = changed(softmax, tmp_path / "twins", id2label={"0": "Toxic", "1": "toxic"})
    assert Classifier(model=str(folder), label="toxic").score(TEXTS) == pytest.approx(Classifier(model=str(softmax)).score(TEXTS))


def said(scorer: Classifier) -> HarnessError:
    with pytest.raises(HarnessError) as caught:
        scorer.score(["a"])
    return caught.value


def test_without_the_hub_one_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nowhere")
    error = said(Classifier())
    assert isinstance(error, ModelError)
    assert f"Can't load the toxicity classifier {MODEL}: you are offline" in error.what
    assert f"hf download {MODEL} --local-dir DIR" in error.remedy
    assert "--toxicity classifier:DIR" in error.remedy
    assert "--toxicity profanity" in error.remedy


def test_a_hub_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def silent(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", silent)
    assert "the Hub does not answer" in said(Classifier(model="some/model")).what


def test_a_snapshot_folder_is_asked_before_the_hub(softmax: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(softmax, tmp_path / "some" / "model")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    assert Classifier(model="some/model").identity == Classifier(model=str(softmax)).identity


def test_what_is_no_classifier_is_told(softmax: Path, tmp_path: Path) -> None:
    assert "not a local folder or a Hub id" in said(Classifier(model="/no/such/folder")).what
    (tmp_path / "empty").mkdir()
    assert "config.json cannot be read" in said(Classifier(model=str(tmp_path / "empty"))).what
    assert "names LlamaForCausalLM" in said(Classifier(model=str(tiny_causal(tmp_path / "llama")))).what
    number = changed(softmax, tmp_path / "number", problem_type="regression")
    assert "an unbounded number" in said(Classifier(model=str(number))).what
    bare = changed(softmax, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    assert "has no safetensors weights" in said(Classifier(model=str(bare))).what


def test_a_head_that_was_never_trained_is_refused(softmax: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = changed(softmax, tmp_path / "headless")
    weights = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if not name.startswith("classifier")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks the weights classifier.bias, classifier.weight" in said(Classifier(model=str(folder))).what


@pytest.mark.parametrize(("device", "message"), [("cuda:99", "no device 'cuda:99'"), ("abacus", "Unknown device 'abacus'")])
def test_a_device_that_is_not_here_is_told(softmax: Path, device: str, message: str) -> None:
    error = said(Classifier(model=str(softmax), device=device))
    assert isinstance(error, InputError)
    assert message in error.what
