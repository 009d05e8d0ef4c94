"""Robustness to perturbations: the worst case of each item and its copies, and the paired drop with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.contract import Family
from harness.evaluation.aggregate import MetricScore, metric_record
from harness.evaluation.signatures import worst_signature
from harness.metrics.base import FloatArray
from harness.stats.bootstrap import by_cluster
from harness.stats.contrast import difference_interval
from harness.stats.intervals import Codes
from harness.stats.pairs import Pairs
from harness.store.records import MetricRecord, PerturbationRecord
from harness.store.signature import Signature

WORST = "worst"
"""Name of the signature that stands for the worst of an item and all its copies."""


@dataclass(frozen=True)
class PerturbedStatistics:
    """One metric on the items that one perturbation changed.

    Attributes:
        signature: the perturbation's.
        places: indices of the changed items, among all items.
        statistics: [changed, statistics], of the perturbed copies.
    """

    signature: Signature
    family: Family
    places: NDArray[np.intp]
    statistics: FloatArray


def worst_case(score: MetricScore, copies: Sequence[PerturbedStatistics]) -> MetricScore | None:
    """The score over the worst of each item and its copies (HELM, compute_worst_case_metrics), in the metric's own direction.

    HELM takes the least value of every metric, also of those of which less is better. Each item contributes the statistics of its
    worst version, so that corpus metrics have a worst case too.

    Args:
        score: of the original items, in one template.
        copies: those of one family.

    Returns:
        The score, or None where a single item has no score.
    """
    metric = score.metric
    lowest = metric.item_scores(score.statistics)
    if lowest is None:
        return None
    sign = 1.0 if metric.higher_is_better else -1.0
    lowest, table = sign * lowest, score.statistics.copy()
    for copy in copies:
        scores = metric.item_scores(copy.statistics)
        assert scores is not None
        worse = sign * scores < lowest[copy.places]
        table[copy.places[worse]] = copy.statistics[worse]
        lowest[copy.places[worse]] = sign * scores[worse]
    signature = worst_signature(score.signature, [copy.signature for copy in copies])
    return MetricScore(metric, table, signature, score.seed, family=copies[0].family, clusters=score.clusters)


def perturbations(
    key: str, score: MetricScore, copies: Sequence[PerturbedStatistics], worst: Mapping[Family, MetricScore]
) -> list[PerturbationRecord]:
    """The effect of every perturbation, and of the worst case of each family, on a metric.

    Args:
        key: name of the metric in results.
        score: of the original items.
        copies: of all families.
        worst: the worst case of each family.
    """
    records = [_record(key, copy.signature, copy.family, score, copy.places, copy.statistics) for copy in copies]
    everywhere = np.arange(len(score.statistics))
    for family, case in worst.items():
        changed = np.unique(np.concatenate([copy.places for copy in copies if copy.family == family]))
        record = _record(key, Signature(WORST), family, score, everywhere, case.statistics)
        records.append(record.model_copy(update={"changed": len(changed)}))
    return records


def _record(
    key: str, signature: Signature, family: Family, score: MetricScore, places: NDArray[np.intp], statistics: FloatArray
) -> PerturbationRecord:
    before = score.statistics[places]
    clusters = None if score.clusters is None else score.clusters[places]
    return PerturbationRecord(
        perturbation=signature,
        family=family,
        metric=key,
        items=len(score.statistics),
        changed=len(places),
        before=_over(score, before, clusters, family),
        after=_over(score, statistics, clusters, family),
        drop=_drop(score, before, statistics, clusters, family),
    )


def _over(score: MetricScore, statistics: FloatArray, clusters: Codes | None, family: Family) -> MetricRecord:
    if len(statistics) == 0:
        record = metric_record(score.metric, math.nan, None, 0, score.signature, "no item's text changed")
        return record.model_copy(update={"family": family})
    return MetricScore(score.metric, statistics, score.signature, score.seed, family=family, clusters=clusters).record()


def _drop(score: MetricScore, before: FloatArray, after: FloatArray, clusters: Codes | None, family: Family) -> MetricRecord:
    """The drop, with an interval from resampling items, or clusters of items, together with their copies."""
    metric, count = score.metric, len(before)
    reason = "no item's text changed" if count == 0 else metric.no_interval(before) or metric.no_interval(after)
    span = metric.high - metric.low
    value, bounds, rows = math.nan, None, None
    if count:
        first, second = (after, before) if metric.higher_is_better else (before, after)
        pairs = Pairs(first, second, metric.score, span)
        value = pairs.difference
        if clusters is not None and (distinct := len(np.unique(clusters))) < count:
            rows, names = distinct, clusters.tolist()
            reason = reason or replace(score, statistics=before, clusters=clusters).too_few
            pairs = Pairs(by_cluster(first, names), by_cluster(second, names), metric.score, span)
        drawn = pairs.replicates(seed=score.seed)
        bounds = None if reason else difference_interval(pairs, drawn[1] - drawn[0])
    record = metric_record(metric, value, bounds, count, score.signature.with_fields(change="drop"), reason)
    ends = {"low": None, "high": None} if math.isinf(span) else {"low": -span, "high": span}
    return record.model_copy(update={"higher_is_better": False, "family": family, "clusters": rows, **ends})
