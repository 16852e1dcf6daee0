"""The report as one HTML page that needs nothing else: pictures, style and script are in it.

All text that comes from files is escaped, and a content policy forbids the page to fetch anything.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

from bench import plots, table
from bench.experiment import RATES, TRADE
from bench.findings import Found
from bench.fingerprint import steal_between
from bench.report import At, Part, Report, over, sentences, trade
from bench.results import Loaded, Sample

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_NUMBER = re.compile(r"<?(\d[\d,]*(?:\.\d+)?)(?=$|[\s%])")
"""At the head of a cell: of `2.65 [2.60, 2.71]`, but not of `6.18.44-x` or `84cd43`."""
_COLOUR = re.compile(r"#([0-9a-f]{6})\b")
_MOST_CARDS = 4


def html(report: Report) -> str:
    """The whole page."""
    titles = dict.fromkeys(part.experiment.title for part in report.parts)
    numbers = count(1)
    several = len(report.parts) > 1
    body = [_side_by_side(report)] if several else []
    for number, part in enumerate(report.parts, 1):
        body += _part(part, number, f"Part {number} of {len(report.parts)}" if several else "", numbers)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(' | '.join(titles))}</title>",
            f"<style>{(_HERE / 'page.css').read_text()}</style></head><body><main>",
            *body,
            f"</main><script>{(_HERE / 'page.js').read_text()}</script></body></html>",
            "",
        ]
    )


def _side_by_side(report: Report) -> str:
    """Each pair's ratio in each part, and why they are not pooled."""
    ratios: dict[str, dict[int, str]] = {}
    for number, part in enumerate(report.parts, 1):
        for each in part.found:
            name = f"{each.ours} / {each.other}" + f" at {each.point}" * bool(each.point)
            ratios.setdefault(name, {})[number] = table.spread(each.result.ratio)
    numbers = range(1, len(report.parts) + 1)
    rows = [[name, *(of.get(number, table.DASH) for number in numbers)] for name, of in ratios.items()]
    heads = ["ratio", *(f"part {number}" for number in numbers)]
    shown = _table(heads, _plain(rows), "Side by side") if rows else ""
    return f"<section><h2>Side by side, not pooled</h2>{_list(report.notes, 'notes')}{shown}</section>"


def _list(lines: Iterable[str], kind: str) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _part(part: Part, number: int, eyebrow: str, pictures: Iterator[int]) -> Iterator[str]:
    """``pictures``: the next one's number."""
    asked = part.experiment
    yield f'<article><header><p class="eyebrow">{escape(eyebrow or "overspray report")}</p>'
    yield f'<h1>{escape(asked.title)}</h1><p class="question">{escape(asked.question)}</p>'
    yield f'<p class="about">{" · ".join(map(escape, _about(part)))}</p></header>'
    yield '<section class="findings"><h2>What was found</h2>'
    shown = part.found[:_MOST_CARDS]
    yield f'<div class="cards">{"".join(map(_card, shown))}</div>'
    yield f"{_list(sentences(part), 'sentences')}{_list(part.notes, 'notes')}</section>"
    for axis in asked.lines:
        for label, picture in over(part, axis).items():
            words = f"Delivered packets a second over {axis}" + f" at {label}" * bool(label)
            yield f"<section>{_figure(picture, words, next(pictures))}</section>"
    if len(part.points) > 1:
        links = (f'<a href="#p{number}-{at}">{escape(each.label)}</a>' for at, each in enumerate(part.points))
        yield f'<nav aria-label="Points">{"".join(links)}</nav>'
    for at, point in enumerate(part.points):
        yield f'<section id="p{number}-{at}">'
        yield from _point(part, point, pictures)
        yield "</section>"
    yield from _host(part)
    yield "</article>"


def _about(part: Part) -> list[str]:
    asked, host = part.experiment, part.kept[0].before
    rounds = max((len(row.rates) for at in part.points for row in at.rows), default=0)
    batches = f" in {part.batches} batches" if part.batches > 1 else ""
    return [
        f"Linux {host['kernel']}",
        str(host.get("cpu") or host.get("machine") or "unknown processor"),
        f"{len(host.get('cores') or [])} cores" + ", virtual" * bool(host.get("virtual")),
        plots.Sent.source,
        f"{rounds} rounds of {asked.seconds:g} s{batches}",
    ]


def _card(found: Found) -> str:
    ratio, verdict = found.result.ratio, found.result.verdict
    at = f"<p>at {escape(found.point)}</p>" if found.point else ""
    return (
        f'<div class="card {verdict}"><p class="ratio">{ratio.median:.2f}{table.TIMES}</p>'
        f'<p class="spread">{ratio.low:.2f} to {ratio.high:.2f} <span class="verdict">{verdict}</span></p>'
        f"<p><b>{escape(found.ours)}</b><br>against {escape(found.other)}</p>{at}</div>"
    )


def _point(part: Part, at: At, pictures: Iterator[int]) -> Iterator[str]:
    baseline, name = part.experiment.baseline, at.label or "All variants"
    yield f'<h2>{escape(name)}</h2><p class="about">{escape(str(at.sent))}</p>'
    if RATES in part.experiment.plot:
        yield _figure(
            plots.rates(at.rows, baseline, at.sent), f"Delivered by each variant: {name}", next(pictures)
        )
    if TRADE in part.experiment.plot:
        yield _figure(trade(at), f"Throughput and order: {name}", next(pictures))
    yield _rows(at.rows, name)
    yield f"{_list(table.legend(), 'legend')}{_list(table.notes(at.rows), 'notes')}"
    yield _figure(plots.cores(at.rows), f"How each core spent its time: {name}", next(pictures))
    yield f"<details><summary>Losses by stage</summary>{_drops(at.samples, name)}</details>"
    yield f"<details><summary>Settings in effect</summary>{_settings(at.samples, name)}</details>"


def _figure(picture: plots.Picture, words: str, number: int) -> str:
    return (
        f'<figure tabindex="0" aria-label="{escape(words)}">{_inline(picture.svg(), words, number)}</figure>'
    )


def _inline(svg: str, words: str, number: int) -> str:
    """An SVG as a part of the page: ids of its own, colours that the page's style may change, no metadata."""
    found = svg[svg.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.S)
    found = re.sub(r'\bid="', f'id="f{number}-', found)
    found = re.sub(r'(xlink:href="|url\()#', rf"\g<1>#f{number}-", found)
    found = found.replace("*{", f"#f{number} *{{", 1)
    head, end, rest = found.partition(">")
    head = re.sub(r'\s(width|height|version)="[^"]*"', "", head)
    rest = re.sub(r'style="[^"]*"', lambda style: _COLOUR.sub(r"var(--x\1, #\1)", style[0]), rest)
    return f'{head} id="f{number}" role="img" aria-label="{escape(words)}"{end}{rest}'.strip()


def _rows(rows: Sequence[table.Row], name: str) -> str:
    most = max((row.rate.median for row in rows), default=0) or 1
    heads = ["variant", *table.cells(rows[0])]
    body = []
    for row in rows:
        swatch = f'<i class="{row.family}" title="{row.family}"></i>'
        cells = [(f"{swatch}{escape(table.marked(row))}", table.marked(row))]
        cells += [(escape(text), text) for text in table.cells(row).values()]
        bar = f'<span class="bar {row.family}" style="--w:{row.rate.median / most:.1%}"></span>'
        cells[1] = (bar + cells[1][0], cells[1][1])
        body.append(cells)
    return _table(heads, body, name)


def _table(heads: Sequence[str], body: Iterable[Sequence[tuple[str, str]]], name: str) -> str:
    """A sortable table; of each cell its HTML, and the text that it is sorted by. Rows open with a name."""
    lines = [
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}"><table class="sortable">'
    ]
    cells = (
        f'<th scope="col" aria-sort="none"><button type="button">{escape(head)}</button></th>'
        for head in heads
    )
    lines.append(f"<thead><tr>{''.join(cells)}</tr></thead><tbody>")
    for (first, key), *others in body:
        columns = (f'<td data-sort="{_key(text)}">{shown}</td>' for shown, text in others)
        lines.append(f'<tr><th scope="row" data-sort="{escape(key)}">{first}</th>{"".join(columns)}</tr>')
    return "\n".join([*lines, "</tbody></table></div>"])


def _key(text: str) -> str:
    """The number that a cell opens with; or its text; nothing for a dash, which is sorted last."""
    if text == table.DASH:
        return ""
    found = _NUMBER.match(text)
    return found[1].replace(",", "") if found else escape(text)


def _plain(rows: Iterable[Sequence[str]]) -> list[list[tuple[str, str]]]:
    return [[(escape(cell), cell) for cell in row] for row in rows]


def _drops(samples: Sequence[Sample], name: str) -> str:
    """Sums over all runs."""
    lost: dict[tuple[str, str, str], int] = {}
    offered: dict[str, int] = {}
    for sample in samples:
        variant = sample["variant"]
        offered[variant] = offered.get(variant, 0) + sample["offered"]
        for stage, names in sample.get("drops", {}).items():
            for reason, number in names.items():
                lost[variant, stage, reason] = lost.get((variant, stage, reason), 0) + number
    if not lost:
        return "<p>No packet was lost in any run.</p>"
    shown = [
        [*key, f"{number:,}", f"{100 * number / max(1, offered[key[0]]):.3g}"] for key, number in lost.items()
    ]
    return _table(["variant", "stage", "reason", "packets", "% of offered"], _plain(shown), f"Losses: {name}")


def _settings(samples: Sequence[Sample], name: str) -> str:
    """Those that differ, as a table; those that all share, in a line."""
    of = {sample["variant"]: sample.get("settings", {}) for sample in reversed(samples)}
    of = {variant: of[variant] for variant in dict.fromkeys(sample["variant"] for sample in samples)}
    names = list(dict.fromkeys(key for each in of.values() for key in each))
    values = {key: {each.get(key) for each in of.values()} for key in names}
    same = [f"{key} {values[key].copy().pop()}" for key in names if len(values[key]) == 1]
    differ = [key for key in names if len(values[key]) > 1]
    shown = [[variant, *(each.get(key, table.DASH) for key in differ)] for variant, each in of.items()]
    text = f"<p>The same for all: {escape(', '.join(same)) or 'none'}.</p>"
    return text + (_table(["variant", *differ], _plain(shown), f"Settings: {name}") if differ else "")


def _host(part: Part) -> Iterator[str]:
    """What the host was like, session by session, and what was typed."""
    yield "<section><h2>Host and command</h2>"
    for directory, kept in zip(part.directories, part.kept, strict=True):
        command = kept.description.get("command")
        yield f"<details><summary>{escape(str(directory))}</summary>"
        yield f"<pre><code>{escape(str(command))}</code></pre>" if command else ""
        yield _fingerprints(kept)
        description = json.dumps(kept.description, indent=1, ensure_ascii=False)
        yield f"<p>Description:</p><pre><code>{escape(description)}</code></pre></details>"
    yield "</section>"


def _fingerprints(kept: Loaded) -> str:
    columns: dict[str, Mapping[str, str]] = {}
    for number, session in enumerate(kept.sessions, 1):
        ordinal = f" {number}" if len(kept.sessions) > 1 else ""
        columns[f"before{ordinal}"] = _flat(session.before)
        columns[f"after{ordinal}"] = _flat(session.after or {})
        steal = steal_between(session.before, session.after or {})
        columns[f"after{ordinal}"] = {
            **columns[f"after{ordinal}"],
            "steal between": table.DASH if steal is None else f"{steal:.2%}",
        }
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [[name, *(column.get(name, table.DASH) for column in columns.values())] for name in names]
    return _table(["what", *columns], _plain(rows), "Fingerprint")


def _flat(found: Mapping[str, Any]) -> dict[str, str]:
    """Without what only serves to work out something else."""
    flat: dict[str, str] = {}
    for name, value in found.items():
        if isinstance(value, dict) and name != "cpu_seconds":
            flat |= {str(key): str(each) for key, each in value.items()}
        elif name != "cpu_seconds":
            flat[name] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat
