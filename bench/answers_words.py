"""``answers.toml``: what people say of the answers, and which rows of the results show it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steering.errors import BadInput, unknown

WORDS = "answers.toml"


@dataclass(frozen=True)
class Shown:
    """A table of a page: some rows and figures of one experiment at one point."""

    experiment: str
    point: str
    """Its title, as in a report."""
    variants: tuple[str, ...]
    figures: tuple[str, ...]
    """As in :data:`bench.metrics.METRICS`."""
    ratio: str = ""
    """The figure that is also given as a ratio to each of ``against``."""
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class Words:
    """What is said of one question; figures in braces are put in by :mod:`bench.quoted`."""

    answer: str = "Not answered yet."
    price: str = ""
    holds: str = ""
    nic: str = ""
    more: str = ""
    """In the report only."""
    plots: tuple[str, ...] = ()
    """Files below the results."""
    tables: tuple[Shown, ...] = ()

    def opening(self) -> str:
        """The answer, and its price."""
        return _paragraphs(self.answer, ("The price", self.price))

    def closing(self) -> str:
        """What the figures hold on."""
        return _paragraphs("", ("On what it holds", self.holds), ("On a NIC", self.nic))

    def whole(self) -> str:
        """All of it."""
        parts = (self.opening(), self.closing(), self.more)
        return "\n\n".join(part for part in parts if part)


def read(folder: Path) -> dict[str, Words]:
    """By the key of the question; empty where the file is not there.

    Raises:
        BadInput: the file is damaged, or has a field that is none.
    """
    file = folder / WORDS
    if not file.is_file():
        return {}
    try:
        found = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: not TOML: {error}") from None
    try:
        return {key: _words(table) for key, table in found.items()}
    except (TypeError, AttributeError) as error:
        raise BadInput(f"{file}: {error}: see docs/results/answers/{WORDS}") from None


def _words(table: Mapping[str, Any]) -> Words:
    for key in table.keys() - Words.__dataclass_fields__.keys():
        raise unknown("field", key, Words.__dataclass_fields__)
    texts = {key: value.strip() for key, value in table.items() if isinstance(value, str)}
    tables = tuple(_shown(each) for each in table.get("tables", ()))
    return Words(**texts, plots=tuple(table.get("plots", ())), tables=tables)


def _shown(table: Mapping[str, Any]) -> Shown:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    return Shown(**fields)


def _paragraphs(first: str, *labelled: tuple[str, str]) -> str:
    said = [first, *(f"*{label}:* {text}" for label, text in labelled if text)]
    return "\n\n".join(part for part in said if part)
