"""How often "retained" and `x >= f × baseline` are said falsely, and how often the interval holds the truth, before and after.

Run it as `python -m benchmarks.verdicts [--replications N] [--only macro|factor|rare] [--resume FILE] [--write]`. Two systems are made
up whose true difference lies exactly on the limit: a loss of the margin, or a score of exactly f times the baseline's. Whoever then
says "retained" or passes is wrong. "Before" are the intervals that these replace, kept here as a reference: a bootstrap of all rows, for
few changes at least as wide as what may have stayed unseen among all rows together; for f times the baseline a bootstrap alone.
`--write` puts the tables into docs/design/statistics.md. All of it takes some ten minutes of one core; with `--resume` rows are kept in
a file, and those that it has are not simulated again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.documents import put, table
from benchmarks.rare import rare
from harness.compare.comparability import NotComparable
from harness.compare.groups import pooled
from harness.stats.bca import bca_interval
from harness.stats.bootstrap import FloatArray, Interval
from harness.stats.bounded import mean_interval
from harness.stats.contrast import FEW, contrast
from harness.stats.discordant import unseen_share
from harness.stats.pairs import MacroPairs, Pairs

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "design" / "statistics.md"
MARGIN = 0.01
RESAMPLES = 300
REPLICATIONS = 1_000
RIGHT = 0.6
"""Share of items that the system before has right."""

Draw = Callable[[np.random.Generator], Pairs]


@dataclass(frozen=True)
class Setting:
    """One made-up comparison whose truth lies on the limit.

    Attributes:
        name: of the sizes, or of the rule.
        kind: of the scores.
        draw: one sample of both systems.
        factor: of the baseline.
        limit: the true value of after less `factor` times before.
    """

    name: str
    kind: str
    draw: Draw
    factor: float
    limit: float


@dataclass(frozen=True)
class Rates:
    """Shares of replications: low end above the limit (false), interval holds the truth; and the mean width."""

    false: float
    covered: float
    width: float


def ratio(totals: FloatArray) -> FloatArray:
    """The mean of one value a row."""
    result: FloatArray = totals[..., 0] / totals[..., 1]
    return result


def answers(rows: int, lost: float, gained: float, generator: np.random.Generator) -> Pairs:
    """Right or wrong, with these shares of all items lost and gained."""
    cell = generator.choice(4, size=rows, p=[lost, gained, RIGHT - lost, 1 - RIGHT - gained])
    return _pairs(np.isin(cell, (0, 2)).astype(float), np.isin(cell, (1, 2)).astype(float))


def graded(rows: int, loss: float, share: float, generator: np.random.Generator) -> Pairs:
    """Scores between 0 and 1 of which this share changes, by 0.15 or so, and by `loss` in the mean over all."""
    before = generator.uniform(0.45, 0.55, size=rows)
    moved = np.clip(generator.normal(-loss / share, 0.12, size=rows), -0.45, 0.45)
    return _pairs(before, before + np.where(generator.random(rows) < share, moved, 0.0))


def lumps(rows: int, loss: float, generator: np.random.Generator) -> Pairs:
    """Graded scores of which a few items lose all they had."""
    before = generator.choice([0.8, 1.0], size=rows)
    return _pairs(before, np.where(generator.random(rows) < loss / 0.9, 0.0, before))


def _pairs(before: FloatArray, after: FloatArray) -> Pairs:
    ones = np.ones(len(before))
    return Pairs(np.stack([before, ones], axis=1), np.stack([after, ones], axis=1), ratio, 1.0)


SIZES: dict[str, tuple[int, ...]] = {
    "50 + 1000": (50, 1_000),
    "8 to 400 in 6 tasks": (8, 20, 50, 100, 200, 400),
    "71 + 277 + 1000": (71, 277, 1_000),
    "57 subjects, 100 to 1500": tuple(np.geomspace(100, 1_500, 57).astype(int).tolist()),
    "24 tasks of 20 to 300": tuple(np.geomspace(20, 300, 24).astype(int).tolist()),
    "GLUE-like, 8 tasks": (71, 250, 277, 400, 600, 1_000, 1_000, 1_000),
    "4 tasks of 300": (300,) * 4,
    "57 tasks of 30": (30,) * 57,
}


MANY = 50
"""Groups of more tasks than this are slow to resample, and are simulated with fewer kinds of scores."""


def settings_of_groups() -> Iterator[Setting]:
    """Averages that lost exactly the margin, in all tasks alike or in the smallest ones alone."""
    for name, sizes in SIZES.items():
        alike, small = [MARGIN] * len(sizes), _in_the_smallest(sizes)
        few = len(sizes) > MANY
        for discordance in (0.01, 0.05) if few else (0.01, 0.05, 0.2):
            flipping = _flipping((discordance - MARGIN) / 2)
            yield Setting(name, f"correct/incorrect, {discordance:.0%} differ", _group(sizes, alike, flipping), 1.0, -MARGIN)
        if not few:
            yield Setting(name, "correct/incorrect, lost in the smallest", _group(sizes, small, _flipping(0.0)), 1.0, -MARGIN)
            yield Setting(name, "graded, 30% change", _group(sizes, alike, _grading), 1.0, -MARGIN)
        yield Setting(name, "correct/incorrect, the rest flips", _group(sizes, small, _flipping(0.05, least=200)), 1.0, -MARGIN)
        yield Setting(name, "graded, few lose all", _group(sizes, alike, lumps), 1.0, -MARGIN)
    for name in ("24 tasks of 20 to 300", "57 subjects, 100 to 1500"):
        micro = _group(SIZES[name], [MARGIN] * len(SIZES[name]), _flipping(0.005), "micro")
        yield Setting(f"{name}, over all items", "correct/incorrect, 2% differ", micro, 1.0, -MARGIN)


def _grading(rows: int, loss: float, generator: np.random.Generator) -> Pairs:
    return graded(rows, loss, 0.3, generator)


def _in_the_smallest(sizes: Sequence[int]) -> list[float]:
    """Losses whose mean is the margin, all in the smallest fifth of the tasks, at most half of a task."""
    count = max(1, len(sizes) // 5)
    chosen = np.argsort(sizes, kind="stable")[:count]
    return [min(0.5, MARGIN * len(sizes) / count) if place in chosen else 0.0 for place in range(len(sizes))]


def _flipping(gained: float, least: int = 0) -> Callable[[int, float, np.random.Generator], Pairs]:
    """Tasks of at least `least` items flip both ways besides what they lose."""
    return lambda rows, loss, rng: answers(rows, loss + gained * (rows >= least), gained * (rows >= least), rng)


def _group(
    sizes: Sequence[int], losses: Sequence[float], one: Callable[[int, float, np.random.Generator], Pairs], average: str = "macro"
) -> Draw:
    def draw(generator: np.random.Generator) -> Pairs:
        parts = {str(place): one(rows, loss, generator) for place, (rows, loss) in enumerate(zip(sizes, losses, strict=True))}
        found = pooled(average, parts)
        assert not isinstance(found, NotComparable)
        return found[0]

    return draw


def settings_of_factors() -> Iterator[Setting]:
    """Scores of exactly f times the baseline's; and the loss of 0.02 on 100 items, which is beyond the limit."""
    yield Setting("x >= 1 × baseline, loss 0.02", "100 items", lambda rng: answers(100, 0.02, 0.0, rng), 1.0, 0.0)
    yield Setting("x >= 1 × baseline, loss 0.02", "50 + 1000 items", _group((50, 1_000), (0.04, 0.0), _flipping(0.0)), 1.0, 0.0)
    for factor in (0.9, 0.98, 1.0, 1.05):
        for rows in (50, 100, 300, 1_000):
            for both in (0.0, 0.05):
                lost, gained = max(0.0, (1 - factor) * RIGHT) + both, max(0.0, (factor - 1) * RIGHT) + both
                if lost + gained:
                    draw = _answering(rows, lost, gained)
                    kind = f"{rows:,} items, {lost + gained:.1%} differ"
                    yield Setting(f"x >= {factor:g} × baseline", kind, draw, factor, 0.0)


def settings_of_rare() -> Iterator[Setting]:
    """Rare rows that lose much, see `benchmarks.rare`."""
    for one in rare():
        yield Setting(one.name, one.kind, one.draw, one.factor, one.truth)


def _answering(rows: int, lost: float, gained: float) -> Draw:
    return lambda rng: answers(rows, lost, gained, rng)


def former(pairs: Pairs, factor: float, seed: int) -> Interval | None:
    """The interval of a difference as it was made before.

    The resamples of a group are drawn task by task, as the product draws them now, for speed; they were drawn from all rows.
    """
    if pairs.flips is not None and pairs.changed < FEW:
        return mean_interval(pairs.after[:, 0] - pairs.before[:, 0], (-1.0, 1.0))
    found = former_factor(pairs, factor, seed)
    if found is None or pairs.changed >= FEW:
        return found
    room = unseen_share(pairs.rows) * pairs.span
    return Interval(min(found.low, pairs.difference - room), max(found.high, pairs.difference + room), "unseen")


def former_factor(pairs: Pairs, factor: float, seed: int) -> Interval | None:
    """The rule `x >= f × baseline` as it was: a bootstrap, however few changed."""
    if isinstance(pairs, MacroPairs) and not pairs.whole:
        each = [pairs.replicates_of(place, seed=seed, resamples=RESAMPLES, threads=1) for place in range(len(pairs.parts))]
        drawn: FloatArray = np.average(each, axis=0, weights=pairs.weights)
    else:
        drawn = pairs.replicates(seed=seed, resamples=RESAMPLES, threads=1)
    influence = pairs.jackknife(factor)
    value = pairs.scores[1] - factor * pairs.scores[0]
    return bca_interval(drawn[1] - factor * drawn[0], value, influence.acceleration if influence else 0.0)


def now(pairs: Pairs, factor: float, seed: int) -> Interval | None:
    """The interval as the product makes it."""
    return contrast(pairs, factor=factor, seed=seed, resamples=RESAMPLES, threads=1)[1]


def rates(setting: Setting, replications: int, methods: Sequence[Callable[[Pairs, float, int], Interval | None]]) -> list[Rates]:
    """What each method does over the same samples."""
    truth = _truth(setting)
    false, held, width = (np.zeros(len(methods)) for _ in range(3))
    generator = np.random.default_rng(20_240)
    for seed in range(replications):
        pairs = setting.draw(generator)
        for place, method in enumerate(methods):
            found = method(pairs, setting.factor, seed)
            if found is None:
                found = Interval(-math.inf, math.inf, "none")
            false[place] += found.low > setting.limit if setting.limit < 0 else found.low >= setting.limit
            held[place] += found.low - 1e-12 <= truth <= found.high + 1e-12
            width[place] += min(found.high - found.low, 2.0 * min(pairs.span, 100.0))
    return [Rates(*row) for row in (np.stack([false, held, width], axis=1) / replications).tolist()]


def _truth(setting: Setting) -> float:
    return -0.02 if "loss 0.02" in setting.name else setting.limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=REPLICATIONS, help="samples of each setting")
    parser.add_argument("--only", choices=("macro", "factor", "rare"), help="one of the three tables")
    parser.add_argument("--resume", type=Path, help="JSON of rows that are done, which is added to")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/design/statistics.md")
    arguments = parser.parse_args()
    if arguments.only in (None, "macro"):
        _report("verdicts-macro", "sizes", settings_of_groups(), former, arguments)
    if arguments.only in (None, "factor"):
        _report("verdicts-factor", "rule", settings_of_factors(), former_factor, arguments)
    if arguments.only in (None, "rare"):
        _report("verdicts-rare", "score", settings_of_rare(), former_factor, arguments)


class _Done:
    """Rows that are simulated, by setting and number of samples, in a file if there is one."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.rows: dict[str, list[list[float]]] = json.loads(file.read_text()) if file and file.exists() else {}

    def get(self, key: str) -> list[Rates] | None:
        return [Rates(*one) for one in self.rows[key]] if key in self.rows else None

    def put(self, key: str, found: list[Rates]) -> list[Rates]:
        self.rows[key] = [[one.false, one.covered, one.width] for one in found]
        if self.file:
            self.file.write_text(json.dumps(self.rows, indent=1))
        return found


def _report(
    name: str,
    first: str,
    settings: Iterator[Setting],
    reference: Callable[[Pairs, float, int], Interval | None],
    arguments: argparse.Namespace,
) -> None:
    header = [first, "scores", "false, before", "false, now", "covered, before", "covered, now", "width, now / before"]
    print(" | ".join(header))
    rows, done = [], _Done(arguments.resume)
    for setting in settings:
        key = f"{setting.name}|{setting.kind}|{arguments.replications}"
        was, is_ = done.get(key) or done.put(key, rates(setting, arguments.replications, (reference, now)))
        shares = [f"{100 * share:.1f} %" for share in (was.false, is_.false, was.covered, is_.covered)]
        rows.append([setting.name, setting.kind, *shares, f"{is_.width / was.width:.2f}" if was.width else "-"])
        print(" | ".join(rows[-1]), flush=True)
    error = 100 * math.sqrt(0.05 * 0.95 / arguments.replications)
    tail = 100 * (0.025 * (RESAMPLES - 1) + 1) / (RESAMPLES + 1)
    caption = (
        f"{arguments.replications:,} samples a row; the standard error of a rate of 5 % is {error:.1f} points. Bootstrap intervals are of "
        f"{RESAMPLES} resamples here, for speed, which makes a tail of 2.5 % one of {tail:.1f} %."
    )
    print(caption)
    if arguments.write:
        put(DOCUMENT, name, "\n".join([*table(header, rows), "", caption]))


if __name__ == "__main__":
    main()
