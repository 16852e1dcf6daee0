"""docs/answers.md: the three answers on two pages, made from saved results alone.

The rows and plots that carry an answer are named in ``answers.toml``; every number in them, and in
the sentences, is put in from the runs. All tables stand in the report beside the results.
"""

from collections.abc import Iterator
from pathlib import Path

from bench import answers_words, quoted
from bench.answers_report import COMMAND, QUESTIONS
from bench.answers_words import Shown, Words
from bench.statistics import Comparison
from bench.text import DASH, times
from bench.variant import Variant

_DOCS = Path("docs")
"""Where a page made of results below it is kept."""


def page(folder: Path) -> str:
    """The three answers as markdown, from the results below ``folder``.

    Raises:
        BadInput: the words name what no run has, or a result is damaged.
    """
    words = answers_words.read(folder)
    kept = folder.parts[: len(_DOCS.parts)] == _DOCS.parts
    links = folder.relative_to(_DOCS) if kept else folder
    lines = [
        "# The paper's open questions, on this kernel",
        "",
        f"Made by `{COMMAND} {folder}` from the raw runs there: medians over the rounds with 95 %",
        f"intervals. All tables: [report]({links}/report.md).",
    ]
    for question in QUESTIONS:
        said = words.get(question.key, Words())
        lines += ["", f"## {question.title}", "", quoted.filled(said.opening(), folder)]
        for plot in said.plots:
            lines += ["", f"![{Path(plot).stem}]({links}/{plot})"]
        for shown in said.tables:
            lines += ["", *_table(shown, folder)]
        if closing := said.closing():
            lines += ["", quoted.filled(closing, folder)]
    return "\n".join(lines) + "\n"


def _table(shown: Shown, folder: Path) -> Iterator[str]:
    label = quoted.known(shown.ratio).label if shown.against else ""
    heads = [shown.point, *(_head(figure) for figure in shown.figures)]
    heads += [f"{label} against `{Variant.parse(base).label}`" for base in shown.against]
    yield f"| {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * (len(heads) - 1)}"
    for variant in shown.variants:
        quote = (shown.experiment, shown.point, variant)
        cells = [quoted.figure(folder, *quote, figure) or DASH for figure in shown.figures]
        cells += [
            DASH if base == variant else _against(quoted.ratio(folder, *quote, base, shown.ratio))
            for base in shown.against
        ]
        yield f"| `{variant}` | {' | '.join(cells)} |"
    yield ""
    yield _source(shown, folder)


def _against(found: Comparison) -> str:
    return f"{times(found)} {found.verdict}"


def _head(figure: str) -> str:
    metric = quoted.known(figure)
    return f"{metric.label}, {metric.unit}".rstrip(", ")


def _source(shown: Shown, folder: Path) -> str:
    """Which command measured the rows, and on what."""
    facts = dict(quoted.report(folder / shown.experiment).facts())
    rounds = facts["rounds"].partition(",")[0]
    host = (f"kernel {facts['kernel']}", facts["host"]) if "host" in facts else ()
    return (
        f"`overspray answers {shown.experiment}`, kept in {folder / shown.experiment}: {rounds} "
        f"rounds, {facts['measured']}; {'; '.join((*host, facts['packets from']))}."
    )
