from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest
from scipy import stats

from harness.metrics import load
from harness.metrics.base import FloatArray, TextOutcome, per_item
from harness.stats.bootstrap import joint_replicates, replicates
from harness.stats.paired import bootstrap_p, compare
from harness.stats.pairs import Pairs
from harness.stats.permutation import p_value, permuted
from tests.stats.populations import Population, accuracy, bounded_means, classified, simulation_error, translations

WORDS = ("the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "old", "small", "and", "then", "slept", "home")


def texts(seed: int, spoilt: float, sentences: int = 60) -> tuple[list[str], list[str]]:
    """References, and a translation of each in which a share of the words is wrong."""
    generator = np.random.default_rng(11)
    wanted = [list(generator.choice(WORDS, size=generator.integers(6, 18))) for _ in range(sentences)]
    noise = np.random.default_rng(seed)
    given = [[str(noise.choice(WORDS)) if noise.random() < spoilt else str(word) for word in words] for words in wanted]
    return [" ".join(words) for words in wanted], [" ".join(words) for words in given]


def bleu_pairs(references: Sequence[str], one: Sequence[str], other: Sequence[str]) -> Pairs:
    metric = load("bleu")

    def statistics(given: Sequence[str]) -> FloatArray:
        return metric.statistics([TextOutcome(text, (reference,)) for text, reference in zip(given, references, strict=True)])

    return Pairs(statistics(one), statistics(other), metric.score, 100.0)


def sacrebleu_p(kind: str, references: Sequence[str], one: Sequence[str], other: Sequence[str], samples: int) -> float:
    test = PairedTest([("one", list(one)), ("other", list(other))], {"BLEU": BLEU()}, [list(references)], kind, n_samples=samples)
    return float(test()[1]["BLEU"][1].p_value)


@pytest.mark.parametrize("spoilt", [0.31, 0.34, 0.4])
def test_bleu_agrees_with_sacrebleu_on_the_same_outputs(spoilt: float) -> None:
    """Both draw 4,000 resamples or shuffles of their own; p-values agree to 4 standard errors of their difference."""
    references, one = texts(1, 0.3)
    _, other = texts(2, spoilt)
    pairs = bleu_pairs(references, one, other)
    for kind in ("bs", "ar"):
        theirs = sacrebleu_p(kind, references, one, other, 4_000)
        if kind == "bs":
            ours = bootstrap_p(pairs.replicates(resamples=4_000, seed=5), pairs.difference)
        else:
            ours = p_value(permuted(pairs.before, pairs.after, pairs.score, permutations=4_000, seed=5), pairs.difference)
        assert ours == pytest.approx(theirs, abs=4 * math.sqrt(2) * simulation_error(max(theirs, 1 / 4_000), 4_000))


def test_scores_and_flips_of_right_and_wrong() -> None:
    before, after = per_item([1, 1, 0, 0, 1.0]), per_item([1, 0, 1, 0, 0.0])
    found = compare(Pairs(before, after, load("accuracy").score, 1.0), resamples=100)
    assert (found.before, found.after, found.value) == pytest.approx((0.6, 0.4, -0.2))
    assert found.flips is not None
    assert (found.flips.lost, found.flips.gained, found.flips.rows) == (2, 1, 5)
    assert found.test == "mcnemar"
    assert found.p == 1.0
    assert found.p_bootstrap is None


@pytest.mark.parametrize("population", [bounded_means(), translations(), classified()], ids=["means", "BLEU", "MCC"])
def test_other_scores_are_permuted(population: Population) -> None:
    pairs = population.draw(90, np.random.default_rng(1))
    found = compare(pairs, resamples=500, permutations=500)
    assert found.flips is None
    assert found.test == "permutation"
    assert found.value == pytest.approx(pairs.score(pairs.after.sum(axis=0)) - pairs.score(pairs.before.sum(axis=0)))
    assert found.interval is not None
    assert found.interval.low < found.value < found.interval.high
    assert 0 < found.p <= 1


def test_pairs_stay_together() -> None:
    """Two systems that agree up to a constant differ by it in every resample."""
    values = np.random.default_rng(0).random(150) / 2
    drawn = Pairs(per_item(values), per_item(values + 0.25), load("accuracy").score).replicates(resamples=300)
    np.testing.assert_allclose(drawn[1] - drawn[0], 0.25)
    assert drawn[0].std() > 0.005


def test_seeds_decide_and_threads_do_not() -> None:
    pairs = translations().draw(70, np.random.default_rng(2))
    one, other, third = (compare(pairs, seed=seed, resamples=300, threads=threads) for seed, threads in ((1, 1), (1, 3), (2, 1)))
    assert (one.interval, one.p, one.error) == (other.interval, other.p, other.error)
    assert one.interval != third.interval


def test_a_score_of_the_same_items_is_resampled_alike_only_together() -> None:
    """Accuracy and MCC of the same answers: equal seeds draw other items for each, joint replicates the same."""
    cells = classified().before[:400]
    right = per_item(cells[:, 4:].sum(axis=1))
    parts = [(cells, load("mcc").score), (right, load("accuracy").score)]
    joint = joint_replicates(parts, seed=3, resamples=4_000)
    apart = [replicates(table, score, seed=3, resamples=4_000) for table, score in parts]
    assert stats.pearsonr(joint[0], joint[1]).statistic > 0.9
    assert abs(stats.pearsonr(apart[0], apart[1]).statistic) < 0.1


def test_items_without_a_resample_have_no_bootstrap_p() -> None:
    assert bootstrap_p(np.full((2, 5), np.nan), 0.1) is None


def test_right_and_wrong_is_recognized_by_values() -> None:
    assert accuracy(size=100).draw(20, np.random.default_rng(0)).flips is not None
    halves = per_item([0.5, 1.0])
    assert Pairs(halves, halves, load("accuracy").score).flips is None
    nats = per_item([1.0, 0.0])
    assert Pairs(nats, nats, load("bits_per_byte").score).flips is None
