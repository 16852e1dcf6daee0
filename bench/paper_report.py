"""The report of ``overspray paper``: the paper's figures beside ours, then every table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.findings import Judged, judge_all
from bench.pictures import linked
from bench.report import Report, markdown
from bench.results import Results
from bench.stages_report import stages_section
from bench.suite import Part, failure
from bench.text import DASH, three, with_interval
from steering.errors import BadInput

_HEAD = """# The paper's experiments on this machine

"Tackling Parallelization Challenges of Kernel Network Stack for Container Overlay Networks"
(HotCloud 2019) measured two machines with 20 virtual cores each over 40 Gbit/s; ratios compare.
*Holds*: the whole 95 % interval of ours lies within the finding's bounds; *does not hold*: outside;
*undecided*: neither; *weak*: see the notes. The wire's own time is apart from the receiver's.
"""


def write(path: Path, chosen: Sequence[Part]) -> Path:
    """Write ``report.md`` and ``report.json`` from the results in a directory; the former's path.

    Raises:
        BadInput: a result is damaged, or the directory can't be written.
    """
    found = {part.name: Results.open(path / part.name) for part in chosen}
    judged = judge_all(found, tuple(found))
    report = path / "report.md"
    try:
        report.write_text("\n".join(_lines(found, judged, draw=True)) + "\n")
        plain = {"findings": [each.plain() for each in judged]}
        (path / "report.json").write_text(json.dumps(plain, indent=1) + "\n")
    except OSError as error:
        raise BadInput(f"can't write the report to '{path}': {error.strerror}") from None
    return report


def page(path: Path, chosen: Sequence[Part]) -> str:
    """The same report as text, from the results in a directory; nothing is drawn or written."""
    found = {part.name: Results.open(path / part.name) for part in chosen}
    judged = judge_all(found, tuple(found))
    return "\n".join(_lines(found, judged, draw=False)) + "\n"


def _lines(found: Mapping[str, Results], judged: Sequence[Judged], *, draw: bool) -> Iterator[str]:
    yield _HEAD
    yield from findings_table(judged)
    for name, results in found.items():
        yield ""
        reason = failure(results)
        if reason or not results.samples():
            yield f"## {results.experiment.title}\n\nNot measured: {reason or 'no run yet'}."
            continue
        yield markdown(Report(results))
        yield from linked(Report(results), draw=draw)
        yield ""
        yield f"Raw runs: [{name}/samples.jsonl]({name}/samples.jsonl)."
        yield from stages_section(results, draw=draw)


def findings_table(judged: Sequence[Judged]) -> Iterator[str]:
    """Each finding with both values and whether it holds; what weakens it as notes below."""
    notes: list[str] = []
    yield "| finding | the paper | as a ratio | here | verdict |"
    yield "| --- | --- | ---: | ---: | --- |"
    for each in judged:
        finding = each.finding
        mark = ""
        if each.mind:
            text = f"{finding.id}: {'; '.join(each.mind)}"
            notes.append(text)
            mark = f" [{len(notes)}]"
        cells = (
            finding.says,
            finding.figures or DASH,
            three(finding.paper) if finding.paper is not None else DASH,
            with_interval(each.ours) if each.ours else DASH,
            each.words + mark,
        )
        yield f"| {' | '.join(cells)} |"
    if notes:
        yield ""
        yield from (f"{number}. {note}" for number, note in enumerate(notes, 1))
