"""Signatures: what they hold, how they are written, and in what two of them differ."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store.signature import FieldDifference, Signature
from tests.store.records import metric

ROUGE = Signature.of("rouge1", {"version": 1, "stemmer": True, "rouge-score": "0.1.2"})
TOXIC = Signature.of("toxic_fraction", {"version": 1, "scorer": Signature.of("classifier", {"label": "toxic"}), "threshold": 0.5})


def test_long_and_short_forms() -> None:
    assert ROUGE.long == str(ROUGE) == "rouge1|version:1|stemmer:true|rouge-score:0.1.2"
    assert TOXIC.long == "toxic_fraction|version:1|scorer:(classifier|label:toxic)|threshold:0.5"
    assert ROUGE.short == f"rouge1@{ROUGE.digest[:8]}"
    assert Signature.of("write", {"stop": ("\n", "."), "beams": None}).long == r"write|stop:['\n', '.']|beams:none"


def test_the_digest_is_of_content_not_of_order() -> None:
    turned = Signature.of("rouge1", {"rouge-score": "0.1.2", "stemmer": True, "version": 1})
    assert turned.digest == ROUGE.digest
    assert Signature.of("rouge1", {"version": 1, "stemmer": False, "rouge-score": "0.1.2"}).digest != ROUGE.digest
    assert Signature.of("rouge2", dict(ROUGE.fields)).digest != ROUGE.digest


def test_differences_name_the_field_and_both_values() -> None:
    other = ROUGE.with_fields(stemmer=False).without("rouge-score").with_fields(case="lower")
    assert ROUGE.difference(ROUGE) == ()
    assert other.difference(ROUGE) == (
        FieldDifference("stemmer", "false", "true"),
        FieldDifference("rouge-score", None, "0.1.2"),
        FieldDifference("case", "lower", None),
    )
    assert Signature("bleu").difference(Signature("chrf")) == (FieldDifference("name", "bleu", "chrf"),)


def test_a_field_of_none_is_not_a_field_that_is_missing() -> None:
    assert Signature.of("a", {"config": None}).difference(Signature("a")) == (FieldDifference("config", "none", None),)


def test_signatures_within_signatures_are_compared_field_by_field() -> None:
    other = TOXIC.with_fields(scorer=Signature.of("classifier", {"label": "hate"}))
    assert other.difference(TOXIC) == (FieldDifference("scorer.label", "hate", "toxic"),)
    words = TOXIC.with_fields(scorer=Signature("profanity"))
    assert words.difference(TOXIC) == (FieldDifference("scorer", "profanity", "classifier"), FieldDifference("scorer.label", None, "toxic"))


def test_a_field_cannot_be_called_name() -> None:
    with pytest.raises(ValueError, match="cannot be called 'name'"):
        Signature.of("x", {"name": "y"})


SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
FIELDS = st.dictionaries(st.text().filter(lambda name: name != "name"), st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3)))


@given(st.text(), FIELDS, FIELDS)
def test_json_gives_the_same_signature_again(name: str, fields: dict[str, Any], inner: dict[str, Any]) -> None:
    signature = Signature.of(name, fields).with_fields(inner=Signature.of("inner", inner))
    again = Signature.from_json(json.loads(json.dumps(signature.to_json())))
    assert again == signature
    assert again.digest == signature.digest
    assert again.difference(signature) == ()


def test_results_hold_signatures_as_objects() -> None:
    record = metric(0.5, signature=TOXIC)
    written = json.loads(record.model_dump_json())
    assert written["signature"] == {
        "name": "toxic_fraction",
        "version": 1,
        "scorer": {"name": "classifier", "label": "toxic"},
        "threshold": 0.5,
    }
    assert type(record).model_validate_json(record.model_dump_json(), strict=True) == record


def test_a_signature_of_earlier_results_is_kept_as_it_is() -> None:
    old = metric(0.5, signature="acc|v:1|norm:none")
    assert old.signature == Signature("acc|v:1|norm:none")
    assert old.signature != Signature.of("acc", {"version": 1, "norm": "none"}), "what it left out is not known"
    with pytest.raises(ValueError, match="a signature is an object"):
        metric(0.5, signature=3)
