"""From result directories alone: tables, pictures, sentences, and one page. Needs no root and no kernel.

Runs of the same experiment on hosts that are alike are pooled, as batches of one; all else stands side by
side.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import findings, plots, table
from bench import trade as trades
from bench.axes import AXES, Point, filled
from bench.experiment import RATES, TRADE, Experiment
from bench.findings import Found
from bench.fingerprint import steal_between, unlike
from bench.results import EXPERIMENT, Loaded, Sample, load
from steering.errors import BadInput

PAGE, TABLE = "report.html", "table.md"
_SAME = ("variants", "baseline", "seconds", "traffic")
"""In what two experiments must not differ to be pooled."""
_STEAL = 0.02
"""Share of the cores' time given to other machines from which a report says so."""


@dataclass(frozen=True)
class At:
    """One point of a part: what ran there."""

    point: Point
    label: str
    """What tells it from the others; empty for an only one."""
    samples: list[Sample]
    rows: list[table.Row]

    @property
    def sent(self) -> plots.Sent:
        """For pictures."""
        others = [f"{name} {value}" for name, value in self.point.items() if value != AXES[name].default]
        named = [each for each in others if not each.startswith(("payload ", "flows "))]
        return plots.Sent(int(self.point["payload"]), int(self.point["flows"]), others=", ".join(named))


@dataclass(frozen=True)
class Part:
    """What is pooled: one experiment, of hosts that are alike."""

    experiment: Experiment
    directories: tuple[Path, ...]
    kept: tuple[Loaded, ...]
    points: tuple[At, ...]
    found: tuple[Found, ...]
    notes: tuple[str, ...]
    """What must be known of it as a whole."""

    @property
    def batches(self) -> int:
        """Of all directories."""
        return len({sample["batch"] for at in self.points for sample in at.samples})


@dataclass(frozen=True)
class Report:
    """All parts; ``notes`` say why there are several."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...]


def of(directories: Sequence[Path]) -> Report:
    """Read and pool. BadInput names what is damaged, foreign, or named twice."""
    if len({directory.resolve() for directory in directories}) < len(directories):
        raise BadInput("a result directory is named twice: name each once, for runs count once")
    read = [(directory, *_read(directory)) for directory in directories]
    _no_copies(read)
    groups: list[list[tuple[Path, Experiment, Loaded]]] = []
    notes = []
    for each in read:
        reasons = [_apart(group[0], each) for group in groups]
        if "" in reasons:
            groups[reasons.index("")].append(each)
            continue
        notes += [
            f"'{each[0]}' is not pooled with '{group[0][0]}': {why}"
            for group, why in zip(groups, reasons, strict=True)
        ]
        groups.append([each])
    return Report(tuple(_part(group) for group in groups), tuple(notes))


def _read(directory: Path) -> tuple[Experiment, Loaded]:
    kept = load(directory)
    where = directory / EXPERIMENT
    experiment = Experiment.of_saved(kept.description, str(where))
    points = experiment.points
    for sample in kept.samples:
        run = f"{sample['variant']} in round {sample['round']}"
        here = sample["variant"] in experiment.variants and filled(sample.get("point", points[0])) in points
        if not here or sample["round"] >= experiment.rounds or sample.get("batch", 0) >= experiment.batches:
            at = ", ".join(f"{name} {value}" for name, value in sample.get("point", {}).items())
            run += f" at {at}" * bool(at)
            raise BadInput(f"'{directory}' has a run of {run}, which '{where}' does not describe")
    return experiment, kept


def _no_copies(read: Sequence[tuple[Path, Experiment, Loaded]]) -> None:
    """A copy would count as a batch of its own."""
    seen: dict[str, Path] = {}
    for directory, _, kept in read:
        first = json.dumps(kept.samples[0], sort_keys=True)
        if (other := seen.setdefault(first, directory)) is not directory:
            raise BadInput(f"'{directory}' and '{other}' hold the same runs: name one of them")


def _apart(one: tuple[Path, Experiment, Loaded], other: tuple[Path, Experiment, Loaded]) -> str:
    """Why two can't be pooled; empty where they can."""
    what = [name for name in _SAME if getattr(one[1], name) != getattr(other[1], name)]
    if what:
        return f"another experiment ({', '.join(what)} differ)"
    hosts = unlike(one[2].before, other[2].before)
    return f"another host ({'; '.join(hosts)})" if hosts else ""


def _part(group: Sequence[tuple[Path, Experiment, Loaded]]) -> Part:
    directories, experiments, kept = zip(*group, strict=True)
    experiment = experiments[0]
    samples = list(_pooled(kept, experiment))
    points, notes = [], []
    for point in experiment.points:
        here = [sample for sample in samples if sample["point"] == point]
        here.sort(key=lambda sample: experiment.variants.index(sample["variant"]))
        label = experiment.label(point)
        if experiment.baseline not in {sample["variant"] for sample in here}:
            notes.append(f"{label or 'the only point'}: left out, for the baseline has not run there yet")
            continue
        points.append(At(point, label, here, table.rows(here, experiment.baseline)))
    found = [
        each
        for pair in experiment.pairs
        for at in points
        if (each := findings.found(at.samples, pair, experiment.seed, at.label))
    ]
    notes += findings.notes(found)
    notes += [note for directory, each, loaded in group for note in _notes(directory, each, loaded)]
    if len(group) > 1:
        notes.append(f"pooled from {len(group)} directories, whose batches are batches of one experiment")
    commits = dict.fromkeys(str(session.before.get("commit")) for each in kept for session in each.sessions)
    if len(commits) > 1:
        notes.append(f"measured by several versions of the source: {', '.join(commits)}")
    return Part(experiment, directories, kept, tuple(points), tuple(found), tuple(notes))


def _pooled(kept: Sequence[Loaded], experiment: Experiment) -> Iterator[Sample]:
    """All samples with batch and point, batches counted through; those of format 1 have neither."""
    first = 0
    only = experiment.points[0]
    for loaded in kept:
        last = first
        for sample in loaded.samples:
            batch = first + sample.get("batch", 0)
            last = max(last, batch)
            point = filled(sample["point"]) if "point" in sample else only
            yield {**sample, "batch": batch, "point": point}
        first = last + 1


def _notes(directory: Path, experiment: Experiment, kept: Loaded) -> Iterator[str]:
    """What weakens one directory's results."""
    runs = len(experiment.points) * experiment.batches * experiment.rounds * len(experiment.variants)
    if (lacking := runs - len(kept.samples)) > 0:
        yield f"unfinished: {lacking} of {runs} runs are missing in '{directory}'"
    if kept.torn:
        yield f"the last line of '{directory / 'samples.jsonl'}' is torn, and left out"
    of_round: dict[tuple[object, ...], set[int]] = {}
    for sample in kept.samples:
        key = (sample.get("batch", 0), json.dumps(sample.get("point")), sample["round"])
        of_round.setdefault(key, set()).add(sample.get("session", 1))
    if split := sum(len(sessions) > 1 for sessions in of_round.values()):
        rounds = f"{split} of {len(of_round)} rounds in '{directory}'"
        yield f"{rounds} were broken off, and completed in a later session"
    for session in kept.sessions:
        after = session.after or {}
        if changed := unlike(session.before, after):
            yield f"the host of '{directory}' changed while it measured: {'; '.join(changed)}"
        if (steal := steal_between(session.before, after) or 0) > _STEAL:
            yield f"{steal:.0%} of the cores' time in '{directory}' was given to other machines"


def sentences(part: Part) -> list[str]:
    """What was found, one sentence a pair."""
    return findings.sentences(part.found)


def write(report: Report, out: Path) -> list[Path]:
    """Page, tables and pictures; returns the files. What is drawn again replaces what was drawn."""
    from bench import page

    try:
        out.mkdir(parents=True, exist_ok=True)
        made = [
            file
            for number, part in enumerate(report.parts)
            for file in _files(part, out, _prefix(report, number))
        ]
        file = out / PAGE
        file.write_text(page.html(report))
    except OSError as error:
        name = error.filename or out
        raise BadInput(f"can't write the report to '{name}': {error.strerror}: name another --out") from None
    return [file, *made]


def _prefix(report: Report, number: int) -> str:
    return f"part{number + 1}-" if len(report.parts) > 1 else ""


def _files(part: Part, out: Path, prefix: str) -> Iterator[Path]:
    for at in part.points:
        if RATES in part.experiment.plot:
            path = out / f"{prefix}rates{_slug(at.label)}"
            yield from plots.draw(at.rows, part.experiment.baseline, at.sent, path)
        if TRADE in part.experiment.plot:
            yield from trade(at).save(out / f"{prefix}trade{_slug(at.label)}")
    for axis in part.experiment.lines:
        for label, picture in over(part, axis).items():
            yield from picture.save(out / f"{prefix}over-{axis}{_slug(label)}")
    text = [*(f"{line}\n" for line in sentences(part))]
    for at in part.points:
        text += [f"## {at.label}\n"] * bool(at.label) + [table.as_markdown(at.rows)]
    file = out / f"{prefix}{TABLE}"
    file.write_text("\n".join(text))
    yield file


def _slug(label: str) -> str:
    kept = "".join(
        letter if letter.isalnum() or letter in ".-" else "_" for letter in label.replace(", ", "-")
    )
    return f"-{kept}" if kept else ""


def trade(at: At) -> plots.Picture:
    """Throughput against order at a point."""
    return trades.picture(at.rows, "Throughput and order" + f", {at.label}" * bool(at.label))


def over(part: Part, axis: str) -> dict[str, plots.Picture]:
    """Rates over an axis: a picture for each combination of the others."""
    groups: dict[str, list[At]] = {}
    for at in part.points:
        groups.setdefault(part.experiment.label(at.point, without=axis), []).append(at)
    return {label: _lines(part, axis, label, found) for label, found in groups.items()}


def _lines(part: Part, axis: str, label: str, found: Sequence[At]) -> plots.Picture:
    made = []
    for variant in part.experiment.variants:
        points = []
        for at in found:
            value = at.point[axis]
            where = value if type(value) in (int, float) else str(value)
            points += [(where, row.rate) for row in at.rows if row.variant == variant]
        if points:
            made.append(plots.Line(variant, table.family(variant), tuple(points)))
    title = f"Delivered over {axis}" + f", at {label}" * bool(label)
    return plots.lines(made, AXES[axis].title, title)


def as_dict(report: Report) -> dict[str, Any]:
    """For JSON."""
    return {"notes": list(report.notes), "parts": [_part_dict(part) for part in report.parts]}


def _part_dict(part: Part) -> dict[str, Any]:
    return {
        "directories": [str(directory) for directory in part.directories],
        "title": part.experiment.title,
        "question": part.experiment.question,
        "batches": part.batches,
        "notes": list(part.notes),
        "findings": sentences(part),
        "comparisons": [each.as_dict() for each in part.found],
        "points": [
            {"point": at.point, "label": at.label, "rows": json.loads(table.as_json(at.rows))}
            for at in part.points
        ],
    }


def as_text(report: Report) -> Iterator[str]:
    """Findings and tables for a terminal."""
    yield from report.notes
    for number, part in enumerate(report.parts, 1):
        if len(report.parts) > 1:
            yield f"part {number}: {', '.join(map(str, part.directories))}"
        yield from (*sentences(part), *part.notes, "")
        for at in part.points:
            yield from ([f"{at.label}:", ""] if at.label else [])
            yield table.as_text(at.rows)
