"""Every score of some runs as one CSV file, in full precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.export.base import ExportedRun, Exporter, export
from harness.store.records import MetricRecord
from harness.util.atomic import write_text

_HEAD = (
    *("system", "digest", "folder", "created", "kind", "name", "template_variant", "metric", "family", "unit", "higher_is_better"),
    *("value", "low", "high", "n", "reason"),
)


@export("csv")
@dataclass(kw_only=True)
class CsvExporter(Exporter):
    """One line for each score of a task, of one of its template variants, or of a group."""

    destination_form: ClassVar[str] = "FILE"

    def export(self, exported: Sequence[ExportedRun]) -> str:
        """Write the file, replacing an earlier one as a whole.

        Raises:
            StorageError: it cannot be written; an earlier file stays.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_HEAD)
        lines = [line for run in exported for line in _lines(run)]
        writer.writerows(lines)
        write_text(Path(self.destination), out.getvalue())
        return f"{len(lines):,} scores of {len(exported):,} {'run' if len(exported) == 1 else 'runs'}: {self.destination}"


def _lines(run: ExportedRun) -> Iterator[list[object]]:
    system = run.record.system
    who = [system.name, system.digest, str(run.folder), run.record.created]
    for name, group in run.record.groups.items():
        yield from ([*who, "group", name, None, *score] for score in _scores(group.metrics))
    for name, task in run.record.tasks.items():
        yield from ([*who, "task", name, None, *score] for score in _scores(task.metrics))
        for variant, scored in task.template_variants.items():
            yield from ([*who, "task", name, variant, *score] for score in _scores(scored.metrics))


def _scores(metrics: Mapping[str, MetricRecord]) -> Iterator[list[object]]:
    for name, score in metrics.items():
        low, high = score.ci or (None, None)
        yield [name, score.family, score.unit, score.higher_is_better, score.value, low, high, score.n, score.reason]
