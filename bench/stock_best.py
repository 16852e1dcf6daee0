"""The best that stock Linux can do for a traffic: a sweep over what it offers, saved for later comparisons.

Devices that hand packets on, the cores they hand them to, GRO kinds and threads, each with each. All of them
get a few short runs, the best quarter gets more, and so on; the last few meet in the same rounds.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations, product
from statistics import median
from typing import Any

from bench.ab import compared, is_limited
from bench.bed import Bed
from bench.best_file import FORMAT, WHAT, Saving
from bench.fingerprint import fingerprint
from bench.progress import Note
from bench.rounds import Timing, rounds
from bench.run import Sample, run
from bench.traffic import Traffic
from bench.variant import PATHS, Variant
from steering import cores, doctor, stock
from steering.errors import BadInput, OversprayError
from steering.spec import Spec

FINALISTS = 4
_SHORT_S = 0.1
_LEFT_OUT = ("", "gro-list")
"""Coalescing without which there is to be a best variant, too; the first: nothing is left out."""
_GRO = ("", *(name for name, offer in stock.COALESCING.items() if offer.features))

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """Variants that were measured in the same rounds."""

    timing: Timing
    samples: Mapping[Variant, Sequence[Sample]]

    def ranked(self, without: str = "") -> list[Variant]:
        """The best first, by the median of delivered packets a second; invalid ones are left out."""
        valid = {each: runs for each, runs in self.samples.items() if not any(run.invalid for run in runs)}
        fitting = [each for each in valid if without not in {spec.name for spec in each.coalescing}]
        return sorted(fitting, key=lambda each: -median(run.rate for run in valid[each]))

    def invalid(self) -> list[str]:
        """A line for each variant that is left out."""
        reasons = {
            each: {text: None for run in runs for text in run.invalid} for each, runs in self.samples.items()
        }
        return [f"left out, invalid: {each}: {'; '.join(texts)}" for each, texts in reasons.items() if texts]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        samples = [run.as_dict() for runs in self.samples.values() for run in runs]
        return {**asdict(self.timing), "samples": samples}


def candidates(case: str, nic_core: int, flows: int = 1, is_read: bool = False) -> list[Variant]:
    """All combinations, of which this host may not be able to do some (:func:`possible`).

    RSS where there are several flows, for it knows nothing else to spread; RFS where there is one, and
    ``is_read``: only then is its socket connected, as it must be.
    """
    usable = cores.usable()
    others = [core for core in usable if core != nic_core]
    masks = [f"{sum(1 << core for core in chosen):x}" for chosen in (others, usable) if chosen]
    devices = PATHS[case]
    steerings = [Spec("none"), *_rps(devices, masks)]
    if flows > 1:
        steerings += [Spec("rss", {"mask": mask}) for mask in masks]
    elif is_read:
        steerings += [Spec("rfs" if device == "nic" else f"rfs-{device}") for device in devices]
    threads = ["", *(f"threaded:mask={mask}" for mask in masks)]
    return [
        Variant(case, steering, tuple(Spec.parse(text) for text in coalescing if text))
        for steering, *coalescing in product(steerings, _GRO, threads)
    ]


def _rps(devices: Sequence[str], masks: Sequence[str]) -> Iterator[Spec]:
    """Each choice of devices, all of them with the same cores."""
    for count in range(1, len(devices) + 1):
        for (first, *more), mask in product(combinations(devices, count), masks):
            name = "rps" if first == "nic" else f"rps-{first}"
            yield Spec(name, {"mask": mask, **dict.fromkeys(more, mask)})


def possible(variants: Sequence[Variant], say: Say) -> list[Variant]:
    """Those that this host can do; what it can't, it says."""
    needed = dict.fromkeys(row for each in variants for row in each.needs)
    missing = [row for row in doctor.examine(*needed) if not row.ok] if needed else []
    for row in missing:
        say(f"left out, not possible here: {row.name}: {row.value}: {row.fix}")
    names = {row.name for row in missing}
    return [each for each in variants if not names & {*each.needs}]


def stages(count: int, timing: Timing) -> list[tuple[int, Timing]]:
    """How many variants get which rounds; more than those, where some are kept for their kind."""
    found: list[tuple[int, Timing]] = []
    numbers = 2
    while count > FINALISTS:
        found.append((count, Timing(min(numbers, timing.rounds), min(_SHORT_S, timing.seconds), timing.seed)))
        count, numbers = max(FINALISTS, -(-count // 4)), numbers + 2
    return [*found, (count, timing)]


def sweep(
    variants: Sequence[Variant],
    traffic: Traffic,
    timing: Timing,
    core: int | None,
    lab: Mapping[str, Any],
    saving: Saving,
    note: Note,
    say: Say,
) -> dict[str, Any]:
    """Measure, save, and return what was saved; ``timing`` is that of the last few; ``lab`` has
    ``mtu``, ``ip``, ``outer_ip`` and ``sink`` of the `Bed`, as which it raises.

    BadInput where one is not stock, or of another case. OversprayError where no variant is valid.
    """
    case = _the_case(variants)
    planned = stages(len(variants), timing)
    before, begun = fingerprint(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    done: list[Stage] = []
    left = list(variants)
    with Bed(variants, traffic, core, **lab) as bed:
        for number, (count, turn) in enumerate(planned, 1):
            left = _best(done[-1], count) if done else left
            say(f"stage {number}/{len(planned)}: {len(left)} variants, {turn.rounds} x {turn.seconds:g} s")
            found = [*rounds(partial(run, bed), left, turn, note)]
            runs = {each: [samples[at] for samples in found] for at, each in enumerate(left)}
            done.append(Stage(turn, runs))
            for text in done[-1].invalid():
                say(text)
            if not done[-1].ranked():
                raise OversprayError("no variant had valid runs alone: measure again in quiet")
        nic_core = bed.nic_core
    best = {without: _judged(done[-1], without) for without in _LEFT_OUT if done[-1].ranked(without)}
    about = {"what": WHAT, "format": FORMAT, "begun": begun, "nic_core": nic_core}
    sent = {"case": case, "traffic": traffic.as_dict(), "lab": {**lab}}
    saved = {**about, **sent, "best": best, "fingerprint": {"before": before, "after": fingerprint()}}
    saving.save({**saved, "stages": [stage.as_dict() for stage in done]})
    return saved


def _the_case(variants: Sequence[Variant]) -> str:
    for each in variants:
        if not each.is_stock:
            raise BadInput(f"'{each}' is not stock Linux: choose from {', '.join(stock.STEERING)}")
    [case] = {each.case for each in variants}
    return case


def _best(stage: Stage, count: int) -> list[Variant]:
    """So many of a stage, and of each kind that is to have a best one at least two."""
    kept = dict.fromkeys(stage.ranked()[:count])
    for without in _LEFT_OUT[1:]:
        kept |= dict.fromkeys(stage.ranked(without)[:2])
    return [*kept]


def _judged(last: Stage, without: str) -> dict[str, Any]:
    """The best of the last stage, and how sure that is: its ratio to the next best, in the same rounds."""
    winner, *others = last.ranked(without)
    runs = last.samples[winner]
    found: dict[str, Any] = {
        "variant": str(winner),
        "delivered_pps": median(run.rate for run in runs),
        "wire_limited": is_limited(runs),
    }
    if others:
        result = compared(last.samples[others[0]], runs, last.timing.seed)
        ratio = {"median": result.ratio.median, "low": result.ratio.low, "high": result.ratio.high}
        notes = [*result.reasons, *result.warnings]
        found |= {"next": str(others[0]), "ratio": ratio, "verdict": result.verdict, "notes": notes}
    return found


def lines(saved: Mapping[str, Any]) -> Iterator[str]:
    """What was found, for a person."""
    for without, best in saved["best"].items():
        rate = f"{best['delivered_pps'] / 1e6:.3f} Mpps"
        yield f"best of stock{f' without {without}' if without else ''}: {best['variant']}, {rate}"
        if "next" in best:
            ratio = best["ratio"]
            spread = f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
            sure = "they are told apart" if best["verdict"] == "better" else "either may be the best"
            yield f"  {spread} times the next, {best['next']}: {best['verdict']}: {sure}"
            yield from (f"  {text}" for text in best["notes"])
        if best["wire_limited"]:
            yield "  limited by the wire: its true figure may be higher"
