"""How far two toxicity scorers agree with Perspective, with each other, and with texts that nobody would call toxic.

Example: python -m benchmarks.toxicity_agreement --data DIR --classifier DIR --generations results/MODEL --document docs/toxicity.md

Perspective's scores are those that rows of RealToxicityPrompts carry. The generations are a model's continuations of its prompts, made by
`harness run --tasks real_toxicity_prompts`. The texts that are not toxic are DialogSum's reference summaries of everyday dialogues, three
to a dialogue, which are resampled together. Intervals are percentiles of 10,000 resamples.

Rewrites what stands between the markers in the document, and writes the same numbers as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.documents import put, table
from harness import metrics, toxicity
from harness.compare.pairing import Results
from harness.contract import TextOutcome
from harness.evaluation.aggregate import MetricScore
from harness.stats.bootstrap import RESAMPLES, FloatArray
from harness.stats.intervals import interval
from harness.store import runs
from harness.util.atomic import write_text

THRESHOLDS = (0.3, 0.5, 0.7)
TASK = "real_toxicity_prompts"


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and what it is over; None where it has none."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        return f"{self.value:.3f}" if self.low is None else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Carried:
    """Texts of one column of RealToxicityPrompts with Perspective's scores [texts].

    Attributes:
        lacking: rows without the text, or without its score.
    """

    name: str
    texts: list[str]
    perspective: FloatArray
    lacking: int


@dataclass(frozen=True)
class Perspective:
    """How one column's scores lie; the range is None where no row has one."""

    texts: str
    n: int
    lacking: int
    lowest: float | None = None
    median: float | None = None
    highest: float | None = None


@dataclass(frozen=True)
class Agreement:
    """Two scorers on the same texts: rank correlation, and Cohen's kappa by the threshold that both take."""

    texts: str
    first: str
    second: str
    spearman: Estimate
    kappa: dict[str, Estimate]


@dataclass(frozen=True)
class Share:
    """One scorer's `toxic_fraction` (at its threshold) and `mean_toxicity` over items of so many texts in all."""

    texts: str
    count: int
    scorer: str
    toxic_fraction: Estimate
    mean_toxicity: Estimate


@dataclass
class Found:
    """All numbers.

    Attributes:
        scorers: signatures by the names that the tables give.
        model: whose generations were scored; None for none.
    """

    scorers: dict[str, str]
    perspective: list[Perspective] = field(default_factory=list)
    model: str | None = None
    agreements: list[Agreement] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)


def spearman(first: FloatArray, second: FloatArray) -> Estimate:
    """Spearman's rank correlation; resamples are ranked anew."""
    from scipy.stats import bootstrap, spearmanr

    def statistic(one: FloatArray, other: FloatArray) -> float:
        return float(spearmanr(one, other).statistic)

    if len(first) < 3 or not np.ptp(first) or not np.ptp(second):
        return Estimate(None, None, None, len(first))
    drawn = bootstrap((first, second), statistic, paired=True, vectorized=False, n_resamples=RESAMPLES, method="percentile", rng=0)
    bounds = drawn.confidence_interval
    return Estimate(statistic(first, second), float(bounds.low), float(bounds.high), len(first))


def kappa(first: FloatArray, second: FloatArray, threshold: float) -> Estimate:
    """Cohen's kappa of two verdicts (Cohen, 1960); None where one of them says the same of every text."""
    one, other = first >= threshold, second >= threshold
    cells = np.stack([one & other, one & ~other, ~one & other, ~one & ~other], axis=1).astype(np.float64)

    def score(totals: FloatArray) -> FloatArray:
        both, alone, without, neither = np.moveaxis(totals / totals.sum(axis=-1, keepdims=True), -1, 0)
        agreed = both + neither
        chance = (both + alone) * (both + without) + (neither + alone) * (neither + without)
        with np.errstate(invalid="ignore", divide="ignore"):
            result: FloatArray = np.where(chance < 1.0, (agreed - chance) / (1.0 - chance), np.nan)
        return result

    value = float(score(cells.sum(axis=0)))
    if one.all() or other.all() or not one.any() or not other.any():
        return Estimate(None, None, None, len(first))
    bounds = interval(cells, score, proportion=False)
    return Estimate(value, bounds.low if bounds else None, bounds.high if bounds else None, len(first))


def agreement(texts: str, first: tuple[str, FloatArray], second: tuple[str, FloatArray]) -> Agreement:
    """How two scorers' scores [texts] of the same texts agree, each given with its name."""
    one, other = first[1], second[1]
    return Agreement(texts, first[0], second[0], spearman(one, other), {f"{at:g}": kappa(one, other, at) for at in THRESHOLDS})


def carried(data: Path) -> Iterator[Carried]:
    """What the rows of RealToxicityPrompts carry."""
    import datasets

    rows = list(datasets.load_dataset(str(data / "allenai" / "real-toxicity-prompts"), split="train"))
    for name in ("prompt", "continuation"):
        parts = [row.get(name) or {} for row in rows]
        whole = [part for part in parts if (part.get("text") or "").strip() and part.get("toxicity") is not None]
        perspective = np.array([part["toxicity"] for part in whole], dtype=np.float64)
        yield Carried(f"{name}s", [part["text"] for part in whole], perspective, len(rows) - len(whole))


def control(data: Path) -> list[TextOutcome]:
    """DialogSum's test dialogues, each with all its reference summaries."""
    import datasets

    summaries: dict[str, list[str]] = {}
    for row in datasets.load_dataset(str(data / "knkarthick" / "dialogsum"), split="test"):
        summaries.setdefault(row["dialogue"], []).append(row["summary"])
    return [TextOutcome(first, ("",), more=tuple(more)) for first, *more in summaries.values()]


def generations(source: Path) -> tuple[str, list[str]]:
    """A model's name and its texts: of a results folder, or of a file of JSON lines with `prediction`, named by the file."""
    if source.is_dir():
        kept = [sample.prediction for sample in Results.read(source).task_samples(TASK, None).samples]
        return runs.read(source).system.name, [text for text in kept if isinstance(text, str)]
    return source.stem, [json.loads(line)["prediction"] for line in source.read_text(encoding="utf-8").splitlines()]


def estimate(metric: str, spec: str, outcomes: Sequence[TextOutcome]) -> Estimate:
    """A metric's score over some items, as a run computes it."""
    one = metrics.load(metric, {"scorer": spec})
    record = MetricScore(one, one.statistics(outcomes), one.signature_for(outcomes), seed=0).record()
    low, high = record.ci or (None, None)
    return Estimate(record.value, low, high, record.n)


def measure(data: Path, specs: Mapping[str, str], source: Path | None) -> Found:
    """All numbers of two scorers, given as specifications by the names that the tables give them."""
    found = Found({name: toxicity.load(spec).signature.long for name, spec in specs.items()})
    for one in carried(data):
        found.perspective.append(_described(one))
        if one.texts:
            against = ("Perspective", one.perspective)
            found.agreements += [agreement(one.name, against, (name, _scores(spec, one.texts))) for name, spec in specs.items()]
            found.shares += _shares(one.name, [TextOutcome(text, ("",)) for text in one.texts], specs)
    if source is not None:
        found.model, said = generations(source)
        full = [text for text in said if text.strip()]
        first, second = ((name, _scores(spec, full)) for name, spec in specs.items())
        found.agreements.append(agreement("generations", first, second))
        found.shares += _shares("generations", [TextOutcome(text, ("",)) for text in said], specs)
    found.shares += _shares("summaries", control(data), specs)
    return found


def _described(one: Carried) -> Perspective:
    scores = one.perspective
    spread = (float(scores.min()), float(np.median(scores)), float(scores.max())) if len(scores) else (None, None, None)
    return Perspective(one.name, len(scores), one.lacking, *spread)


def _shares(texts: str, items: Sequence[TextOutcome], specs: Mapping[str, str]) -> list[Share]:
    count = sum(1 + len(item.more) for item in items)
    return [
        Share(texts, count, name, estimate("toxic_fraction", spec, items), estimate("mean_toxicity", spec, items))
        for name, spec in specs.items()
    ]


def _scores(spec: str, texts: Sequence[str]) -> FloatArray:
    return toxicity.load(spec).score(texts)


def document(found: Found) -> str:
    """The tables as Markdown."""
    signatures = [[name, " ".join(f"`{part}`" for part in signature.split("|"))] for name, signature in found.scorers.items()]
    agreements = [
        [one.texts, f"{one.first}, {one.second}", str(one.spearman.n), str(one.spearman), *map(str, one.kappa.values())]
        for one in found.agreements
    ]
    shares = [
        [one.texts, str(one.count), one.scorer, str(one.toxic_fraction.n), str(one.toxic_fraction), str(one.mean_toxicity)]
        for one in found.shares
    ]
    parts = [
        "\n".join(table(["scorer", "signature"], signatures)),
        "Agreement, with 95 % intervals:",
        "\n".join(table(["texts", "scorers", "n", "Spearman", *(f"kappa at {at:g}" for at in THRESHOLDS)], agreements)),
        "\n".join(map(_told, found.perspective)),
        "What each calls toxic at its threshold, and its mean score, with 95 % intervals; n counts items:",
        "\n".join(table(["texts", "of them", "scorer", "n", "`toxic_fraction`", "`mean_toxicity`"], shares)),
        *([f"The generations are {found.model}'s, of the task `{TASK}`."] if found.model else []),
    ]
    return "\n\n".join(parts)


def _told(one: Perspective) -> str:
    if one.lowest is None:
        return f"- No {one.texts}: {one.lacking} rows have none with a score."
    return (
        f"- Perspective's scores of {one.n} {one.texts} lie between {one.lowest:.2f} and {one.highest:.2f}, "
        f"half of them above {one.median:.2f}; {one.lacking} rows lack one."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset snapshots")
    parser.add_argument("--classifier", required=True, metavar="DIR", help="classifier's folder or hub id; `,label=NAME` may follow")
    parser.add_argument("--generations", type=Path, metavar="PATH", help="results folder, or JSON lines with `prediction`")
    parser.add_argument("--document", type=Path, metavar="FILE", help="Markdown with the markers")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/toxicity.json"), metavar="FILE")
    options = parser.parse_args(arguments)
    folder = Path(options.classifier.partition(",")[0])
    specs = {folder.name: f"classifier:{options.classifier}", "profanity": "profanity"}
    found = measure(options.data, specs, options.generations)
    write_text(options.json, json.dumps(asdict(found), indent=2) + "\n")
    if options.document is not None:
        put(options.document, "benchmarks.toxicity_agreement", document(found))
    print(document(found))
    for note in toxicity.notes():
        print(note, file=sys.stderr)


if __name__ == "__main__":
    main()
