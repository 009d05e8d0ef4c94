"""`harness plot`: figures as files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.arguments import check_places
from harness.errors import InputError
from harness.evaluation.options import split


class _What(StrEnum):
    reliability = "reliability"
    families = "families"
    drops = "drops"
    all = "all"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("plot")(plot)


def plot(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, or folders above them.")],
    out: Annotated[Path, typer.Option(help="FILE.svg or FILE.png for one figure, or a folder for several.")],
    what: Annotated[_What, typer.Option(help="Reliability diagrams, families of measures, drops on perturbed items, or all.")] = _What.all,
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="Tasks, groups or globs, separated by commas (default: all).")
    ] = None,
    measure: Annotated[str, typer.Option(help="Calibration metric whose bins a reliability diagram shows.")] = "ece_10_bin",
) -> None:
    """Draw the measures of one or several runs as SVG or PNG; needs matplotlib.

    Example: harness plot results/base results/tuned --what reliability --task superglue_boolq --out boolq.svg
    """
    _need_matplotlib()
    check_places({"--out": out if out.suffix else out / "figure.svg"})
    from harness import metrics
    from harness.compare.figures import sides
    from harness.compare.unverified import unverified
    from harness.metrics.calibration import reliability
    from harness.report.plots.base import KINDS, FigureRequest, FigureSource
    from harness.report.plots.plots import places, plots, write
    from harness.store import runs
    from harness.store.verifying import refuse_changed

    read = [(path.parent, runs.read(path)) for path in runs.find_runs(folders)]
    for folder, record in read:
        refuse_changed(folder, record)
    systems = sides(read)
    kinds = KINDS if what is _What.all else tuple(kind for kind in KINDS if kind == what.value)
    made = plots(FigureSource(systems, metrics.load, reliability), FigureRequest(kinds, split(task or ()), measure))
    files, form = places(made, out)
    write(made, files, form)
    for file in files:
        typer.echo(str(file))
    if remark := unverified((system.label, system.record) for system in systems):
        typer.echo(remark, err=True)


def _need_matplotlib() -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise InputError("Figures need matplotlib, which is not installed.", "Install it: pip install 'adapter-harness[plot]'.")
