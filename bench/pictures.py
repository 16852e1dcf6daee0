"""An experiment's plots as a page shows them."""

from collections.abc import Iterator

from bench.report import Report


def linked(report: Report, *, draw: bool = True) -> Iterator[str]:
    """Lines that show its plots, drawn first if asked; else those that are there."""
    folder = report.results.path / "plots"
    if draw:
        from bench.plots import draw as drawn

        drawn(report.tables, report.experiment, folder)
    for file in sorted(folder.glob("*.png")):
        if not file.name.startswith("stages"):
            yield f"\n![{file.stem}]({report.results.path.name}/plots/{file.name})"
