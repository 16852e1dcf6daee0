"""Saved sweeps (`bench.stock_best`), and ``CASE/stock-best``: the variant that the newest of them found best.

``results/stock-best/CASE-payload=18-flows=1-batch=128-TIME.json`` below the current folder. None is ever
overwritten; the time, in UTC, says which is the newest.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.fingerprint import fingerprint
from bench.traffic import Traffic
from bench.variant import STOCK_BEST, Origin, Variant
from steering import cores
from steering.closing import Closing
from steering.errors import BadInput

FOLDER = Path("results/stock-best")
WHAT, FORMAT = "overspray stock-best", 1
_HOST = ("kernel", "cpu", "cores")
"""Of a fingerprint: what another host's sweep is known by."""


Key = Mapping[str, int | str]
"""What a sweep is for, as options of the command."""


def key(traffic: Traffic, ip: int = 4, outer_ip: int = 4, sink: str = "count") -> Key:
    """Of a comparison's: a sweep is made at full rate with equal shares, and serves for every rate, however.

    One with a reader serves for readers on any core, with any batch, and for applications.
    """
    versions = {name: version for name, version in (("ip", ip), ("outer-ip", outer_ip)) if version != 4}
    user = {} if sink == "count" else {"sink": "read"}
    return {"payload": traffic.payload, "flows": traffic.flows, "batch": traffic.batch, **versions, **user}


def place(case: str, sent: Key) -> Path:
    """Where a sweep that begins now is to be; ``sent`` is its :func:`key`."""
    return FOLDER / f"{_stem(case, sent)}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"


class Saving(Closing):
    """A file to be: it is there whole, or not at all. A context manager.

    BadInput, before anything is measured, where it can't be made or there is one already.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._part = path, path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._part.write_text("")
        except OSError as error:
            raise BadInput(f"can't make '{path}': {error.strerror}") from None
        if path.exists():
            self.close()
            raise self._taken()

    def save(self, found: Mapping[str, Any]) -> None:
        """Make it. Raises BadInput where there is one meanwhile, OSError where there is no room."""
        self._part.write_text(json.dumps(found, allow_nan=False) + "\n")
        if self.path.exists():
            raise self._taken()
        self._part.rename(self.path)

    def close(self) -> None:
        """Leave nothing half. Closing twice is harmless."""
        self._part.unlink(missing_ok=True)

    def _taken(self) -> BadInput:
        return BadInput(f"'{self.path}' is there already, and sweeps are never overwritten: name another")


def resolved(
    variants: Sequence[Variant], sent: Key, core: int | None, say: Callable[[str], None]
) -> list[Variant]:
    """The variants, with each ``stock-best`` replaced by what the newest sweep of that case and :func:`key`
    found best; which that is, and what speaks against it, is said.

    Raises BadInput where there is no sweep, or the newest is none that can be read.
    """
    return [_resolved(each, sent, core, say) if each.is_stand_in else each for each in variants]


def add_origins(report: dict[str, Any], variants: Sequence[Variant]) -> None:
    """Tell a comparison of a and b (`bench.ab.report`) which of them was named ``stock-best``."""
    origins = {side: each.origin for side, each in zip("ab", variants, strict=True) if each.origin}
    report["named"] = {side: {"text": one.text, "file": one.file} for side, one in origins.items()}
    report["warnings"] += [warning for one in origins.values() for warning in one.warnings]


def _resolved(variant: Variant, sent: Key, core: int | None, say: Callable[[str], None]) -> Variant:
    without = variant.steering.args.get("without", "")
    if variant.coalescing or variant.steering.args.keys() - {"without"}:
        raise BadInput(f"'{variant}': {STOCK_BEST} has its own settings: its one knob is without=gro-list")
    file = _newest(variant.case, sent)
    found = load(file)
    best = found["best"]
    if without not in best:
        known = " or ".join(f"without={name}" for name in best if name)
        raise BadInput(f"'{variant}': '{file}' does not tell: choose {known or 'no knob'}")
    warnings = tuple(f"{variant} is from {file}, {text}" for text in _strange(found, core))
    chosen = _variant(file, variant.case, best[without]["variant"])
    say(f"{variant} is {chosen} ({file})")
    for text in warnings:
        say(f"warning: {text}")
    return replace(chosen, origin=Origin(str(variant), str(file), warnings))


def load(file: Path) -> dict[str, Any]:
    """A saved sweep. BadInput where it is damaged, foreign, or of a newer overspray."""
    remedy = f"remove it, or type 'overspray {STOCK_BEST}' for a new one"
    try:
        found = json.loads(file.read_text())
    except OSError as error:
        raise BadInput(f"can't read '{file}': {error.strerror}") from None
    except ValueError:  # not text, or not JSON
        raise BadInput(f"'{file}' is damaged: not JSON: {remedy}") from None
    if not isinstance(found, dict) or found.get("what") != WHAT:
        raise BadInput(f"'{file}' is no sweep of {STOCK_BEST}: {remedy}")
    if found.get("format") != FORMAT:
        raise BadInput(f"'{file}' has format {found.get('format')}, of another overspray: {remedy}")
    try:
        if not all(isinstance(best["variant"], str) for best in found["best"].values()) or not found["best"]:
            raise TypeError("best")
        if not all(name in found["fingerprint"]["before"] for name in _HOST) or "nic_core" not in found:
            raise KeyError("fingerprint")
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"'{file}' is damaged ({error}): {remedy}") from None
    return found


def _variant(file: Path, case: str, text: str) -> Variant:
    try:
        found = Variant.parse(text)
        if not found.is_stock or found.case != case:
            raise BadInput(f"'{text}' is no stock variant of {case}")
    except BadInput as error:
        raise BadInput(f"'{file}' is damaged: {error}") from None
    return found


def _newest(case: str, sent: Key) -> Path:
    stem = _stem(case, sent)
    if found := sorted(FOLDER.glob(f"{stem}-*.json")):
        return found[-1]
    options = " ".join(f"--{name} {value}" for name, value in sent.items())
    raise BadInput(
        f"no saved sweep '{FOLDER / stem}-….json': type 'overspray {STOCK_BEST} --case {case} {options}'"
    )


def _stem(case: str, sent: Key) -> str:
    return "-".join((case, *(f"{name}={value}" for name, value in sent.items())))


def _strange(found: Mapping[str, Any], core: int | None) -> list[str]:
    """What the sweep was made with and this host is without."""
    then, now = found["fingerprint"]["before"], fingerprint()
    strange = [
        f"made on another host: {name} {then[name]}, here {now[name]}"
        for name in _HOST
        if then[name] != now[name]
    ]
    nic_core = cores.usable()[0] if core is None else core
    if found["nic_core"] != nic_core:
        strange.append(f"made with the NIC on core {found['nic_core']}, here {nic_core}")
    return strange
