"""What disturbing items costs: the worst of the original and its copies, and the paired drop with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.contract import Family
from harness.evaluation.signatures import worst_signature
from harness.metrics.base import FloatArray
from harness.scores import Score, metric_record
from harness.stats.bootstrap import by_cluster
from harness.stats.intervals import Codes
from harness.stats.paired import Pairs, difference_interval
from harness.store.runs import DisturbanceRecord, MetricRecord
from harness.store.signature import Signature

WORST = "worst"


@dataclass(frozen=True)
class Disturbed:
    """One metric on the copies that one perturbation made.

    Attributes:
        signature: the perturbation's.
        places: of the items that changed, among all items.
        statistics: [changed, statistics], of the copies.
    """

    signature: Signature
    family: Family
    places: NDArray[np.intp]
    statistics: FloatArray


def worst_case(score: Score, copies: Sequence[Disturbed]) -> Score | None:
    """The score over the worst of each item and its copies (HELM, compute_worst_case_metrics), in the metric's own direction.

    HELM takes the least value of every metric, also of those of which less is better. Each item contributes the statistics of its
    worst version, so that corpus metrics have a worst case too.

    Args:
        score: of the original items, in one wording.
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
    for one in copies:
        theirs = metric.item_scores(one.statistics)
        assert theirs is not None
        worse = sign * theirs < lowest[one.places]
        table[one.places[worse]] = one.statistics[worse]
        lowest[one.places[worse]] = sign * theirs[worse]
    signature = worst_signature(score.signature, [one.signature for one in copies])
    return Score(metric, table, signature, score.seed, family=copies[0].family, clusters=score.clusters)


def disturbances(key: str, score: Score, copies: Sequence[Disturbed], worst: Mapping[Family, Score]) -> list[DisturbanceRecord]:
    """What every perturbation, and the worst of each family, does to a metric.

    Args:
        key: the metric, as results name it.
        score: of the original items.
        copies: of all families.
        worst: each family's worst case.
    """
    found = [_record(key, one.signature, one.family, score, one.places, one.statistics) for one in copies]
    everywhere = np.arange(len(score.statistics))
    for family, one in worst.items():
        changed = np.unique(np.concatenate([copy.places for copy in copies if copy.family == family]))
        record = _record(key, Signature(WORST), family, score, everywhere, one.statistics)
        found.append(record.model_copy(update={"changed": len(changed)}))
    return found


def _record(
    key: str, signature: Signature, family: Family, score: Score, places: NDArray[np.intp], statistics: FloatArray
) -> DisturbanceRecord:
    before = score.statistics[places]
    clusters = None if score.clusters is None else score.clusters[places]
    return DisturbanceRecord(
        perturbation=signature,
        family=family,
        metric=key,
        items=len(score.statistics),
        changed=len(places),
        before=_over(score, before, clusters, family),
        after=_over(score, statistics, clusters, family),
        drop=_drop(score, before, statistics, clusters, family),
    )


def _over(score: Score, statistics: FloatArray, clusters: Codes | None, family: Family) -> MetricRecord:
    if len(statistics) == 0:
        record = metric_record(score.metric, math.nan, None, 0, score.signature, "no item's text changed")
        return record.model_copy(update={"family": family})
    return Score(score.metric, statistics, score.signature, score.seed, family=family, clusters=clusters).record()


def _drop(score: Score, before: FloatArray, after: FloatArray, clusters: Codes | None, family: Family) -> MetricRecord:
    """What is lost, with an interval from resampling items, or clusters of them, with their copies."""
    metric, count = score.metric, len(before)
    reason = "no item's text changed" if count == 0 else metric.no_interval(before) or metric.no_interval(after)
    span = metric.high - metric.low
    value, bounds, rows = math.nan, None, None
    if count:
        first, second = (after, before) if metric.higher_is_better else (before, after)
        pairs = Pairs(first, second, metric.score, span)
        value = pairs.difference
        if clusters is not None and (found := len(np.unique(clusters))) < count:
            rows, names = found, clusters.tolist()
            reason = reason or replace(score, statistics=before, clusters=clusters).too_few
            pairs = Pairs(by_cluster(first, names), by_cluster(second, names), metric.score, span)
        drawn = pairs.replicates(seed=score.seed)
        bounds = None if reason else difference_interval(pairs, drawn[1] - drawn[0])
    record = metric_record(metric, value, bounds, count, score.signature.with_fields(change="drop"), reason)
    ends = {"low": None, "high": None} if math.isinf(span) else {"low": -span, "high": span}
    return record.model_copy(update={"higher_is_better": False, "family": family, "clusters": rows, **ends})
