"""Profiles as tables and as icicles: a bar for each core, its stages as wide as their time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.plot_style import STYLE
from bench.results import Results
from bench.stages import STAGES, Profile
from bench.text import DASH

_ASIDE = ("idle", "wire")
"""What is no part of receiving."""
_NARROW = 0.035
"""Share of the picture's width below which a stage has no label."""


def stages_section(results: Results, *, draw: bool = True) -> Iterator[str]:
    """For each point that has profiles a table by stage and its icicle, drawn if asked."""
    profiles = results.profiles()
    for number, point in enumerate(results.experiment.points()):
        found = [profile for (at, _), profile in profiles.items() if at == point.id]
        if not found:
            continue
        picture = results.path / "plots" / f"stages-{number}"
        if draw:
            picture.parent.mkdir(exist_ok=True)
            draw_icicle(found, f"Where the time goes: {point.title}", picture)
        yield ""
        costs = [_summed(each) for each in found]
        yield f"### Stages: {point.title}"
        yield ""
        yield "ns of all cores for a delivered packet, by sampling; the wire and idle time apart."
        yield ""
        yield f"| stage | {' | '.join(f'`{each.variant}`' for each in found)} |"
        yield f"| --- |{' ---: |' * len(found)}"
        for name in [*STAGES, "other"]:
            if name not in _ASIDE and any(cost.get(name) for cost in costs):
                yield _row(name, [cost.get(name, 0.0) for cost in costs])
        sums = [sum(v for name, v in cost.items() if name not in _ASIDE) for cost in costs]
        yield _row("**receiving**", sums)
        yield _row("the wire", [cost.get("wire", 0.0) for cost in costs])
        yield ""
        yield f"![Stages]({results.path.name}/plots/{picture.name}.png)"


def draw_icicle(found: Sequence[Profile], title: str, path: Path) -> None:
    """PNG and SVG: a bar for each core of each variant, split into stages."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [(one, core, stages) for one in found for core, stages in one.per_packet().items()]
    widest = max(sum(_received(stages).values()) for *_, stages in rows) or 1.0
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 0.42 * len(rows) + 1.3), layout="constrained")
        axis = figure.subplots()
        for y, (_, _, stages) in enumerate(rows):
            _bar(axis, y, _received(stages), widest)
        axis.set_yticks(range(len(rows)), [f"{one.variant}, core {core}" for one, core, _ in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlabel("ns of the core for a delivered packet, by sampling\nveth, live frames")
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.savefig(path.with_suffix(".png"), dpi=140)
        figure.set_layout_engine("none")
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _bar(axis: Any, y: int, stages: Mapping[str, float], widest: float) -> None:
    from matplotlib import colormaps

    left = 0.0
    colours = colormaps["tab20"]
    for place, name in enumerate([*STAGES, "other"]):
        width = stages.get(name, 0.0)
        if not width:
            continue
        axis.barh(y, width, 0.86, left=left, color=colours(place % 20), edgecolor="white")
        if width > _NARROW * widest:
            axis.text(
                left + width / 2, y, name, ha="center", va="center", fontsize=6.5, clip_on=True
            )
        left += width


def _received(stages: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in stages.items() if name not in _ASIDE}


def _summed(profile: Profile) -> dict[str, float]:
    total: dict[str, float] = {}
    for stages in profile.per_packet().values():
        for name, value in stages.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _row(name: str, values: Sequence[float]) -> str:
    return f"| {name} | {' | '.join(f'{value:.0f}' if value else DASH for value in values)} |"
