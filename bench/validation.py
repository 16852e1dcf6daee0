"""Every mistake in a description at once, a line each."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.axes import AXES, traffic_of
from bench.experiment import MOST_POINTS, RATES, TRADE, Experiment, over
from steering.errors import BadInput, unknown

_NUMBERS: dict[str, tuple[float, float, bool]] = {
    "rounds": (1, 10_000, True),
    "batches": (1, 1000, True),
    "pause": (0, 7 * 86400, False),
    "seconds": (0.001, 60, False),
    "seed": (0, 2**31, True),
}
"""Least, most, and whether it is a whole number."""
_KEYS = ("title", "question", "variants", "baseline", "pairs", *_NUMBERS, "plot", "traffic")


def mistakes(data: Mapping[str, Any], here: bool) -> list[str]:
    """What is wrong with it; ``here``: also what this host can't do."""
    found = [str(unknown("key", key, _KEYS)) for key in data if key not in _KEYS]
    found += [
        f"'{key}' is {data[key]!r}: write a text" for key in ("title", "question") if _no_text(data, key)
    ]
    for check in (_variants, _numbers, _plots, _traffic):
        found += check(data, here)
    return list(dict.fromkeys(found))


def _no_text(data: Mapping[str, Any], key: str) -> bool:
    return not isinstance(data.get(key, ""), str)


def _variants(data: Mapping[str, Any], here: bool) -> Iterator[str]:
    """Also who is named elsewhere without being one of them."""
    named = data.get("variants")
    if not isinstance(named, list) or not named or not all(isinstance(each, str) for each in named):
        yield (
            "'variants' is missing: list one or more"
            if named is None
            else (f"'variants' is {named!r}: list one or more texts")
        )
        return
    known = dict.fromkeys(canonical(each) if here else each for each in named)
    if len(known) < len(named):
        yield "'variants' names one twice"
    if here:
        yield from (line for each in named for line in _wrong(each, data))
    baseline = data.get("baseline", named[0])
    if not isinstance(baseline, str) or (canonical(baseline) if here else baseline) not in known:
        yield f"'baseline' is {baseline!r}: choose from {', '.join(known)}"
    pairs = data.get("pairs", [])
    if not isinstance(pairs, list):
        yield f"'pairs' is {pairs!r}: list pairs such as ['{named[-1]}', '{named[0]}']"
        return
    for pair in pairs:
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not all(isinstance(each, str) for each in pair)
        ):
            yield f"'pairs' has {pair!r}: write two variants, as in ['{named[-1]}', '{named[0]}']"
            continue
        yield from (
            f"'pairs' has '{each}': choose from {', '.join(known)}"
            for each in pair
            if (canonical(each) if here else each) not in known
        )


def canonical(text: str) -> str:
    """The variant as results name it; as it was, where it is none."""
    from bench.variant import Variant

    try:
        return str(Variant.parse(text))
    except BadInput:
        return text


def _wrong(text: str, data: Mapping[str, Any]) -> Iterator[str]:
    from bench.variant import Variant
    from steering import cores

    def check(core: int) -> None:
        variant = Variant.parse(text)
        if not variant.is_stand_in:  # what that is, is known at each point alone
            variant.check(core)

    traffic = data.get("traffic")
    asked = listed(traffic.get("core", "first")) if isinstance(traffic, dict) else ["first"]
    usable = cores.usable()
    # One that is not usable is a mistake of its own.
    for core in [each for each in asked if each in usable] or usable[:1]:
        if line := _refusal(check, core):
            yield f"variant '{text}': {line}"


def _numbers(data: Mapping[str, Any], here: bool) -> Iterator[str]:
    for key, (least, most, whole) in _NUMBERS.items():
        value = data.get(key, least)
        right = type(value) is int or (type(value) is float and not whole)
        if not right or not least <= value <= most:
            kind = "a whole number" if whole else "a number"
            yield f"'{key}' is {value!r}: write {kind} from {least:g} to {most:g}"


def _plots(data: Mapping[str, Any], here: bool) -> Iterator[str]:
    plots = data.get("plot", [RATES])
    allowed = f"choose from '{RATES}', '{TRADE}' and 'x = AXIS'"
    if not isinstance(plots, list | tuple) or not plots:
        yield f"'plot' is {plots!r}: list one or more; {allowed}"
        return
    traffic = data.get("traffic")
    for plot in plots:
        axis = over(plot) if isinstance(plot, str) else None
        if plot in (RATES, TRADE):
            continue
        if axis is None:
            yield f"'plot' has {plot!r}: {allowed}"
        elif axis not in AXES:
            yield f"'plot' has '{plot}': {unknown('axis', axis, AXES)}"
        elif isinstance(traffic, dict) and len(listed(traffic.get(axis, 0))) < 2:
            yield f"'plot' has '{plot}': list two or more values of {axis} in [traffic]"


def _traffic(data: Mapping[str, Any], here: bool) -> Iterator[str]:
    traffic = data.get("traffic", {})
    if not isinstance(traffic, dict):
        yield f"'traffic' is {traffic!r}: write a table with one or more of {', '.join(AXES)}"
        return
    right = True
    for name, values in traffic.items():
        for line in _axis(name, values, here):
            right = False
            yield f"[traffic] {line}"
    if right:
        yield from _points(traffic)


def _axis(name: str, values: Any, here: bool) -> Iterator[str]:
    if name not in AXES:
        yield str(unknown("axis", name, AXES))
        return
    axis = AXES[name]
    if not listed(values):
        yield f"'{name}' is empty: list one or more values"
    elif len({repr(value) for value in listed(values)}) < len(listed(values)):
        yield f"'{name}' has a value twice"
    for value in listed(values):
        if not axis.accepts(value):
            yield f"'{name}' is {value!r}: write {axis.allowed}"
        elif here and (line := _refusal(axis.probe, value)):
            yield line


def _points(traffic: Mapping[str, Any]) -> Iterator[str]:
    """Values that don't go together."""
    asked = Experiment("", "", (), "", (), 1, traffic={name: listed(traffic[name]) for name in traffic})
    points = asked.points
    if len(points) > MOST_POINTS:
        yield f"[traffic] makes {len(points)} points: at most {MOST_POINTS}"
        return
    for point in points:
        if line := _refusal(traffic_of, point):
            yield f"[traffic] {line}"


def _refusal(act: Callable[[Any], object], value: Any) -> str:
    try:
        act(value)
    except BadInput as error:
        return str(error)
    return ""


def listed(values: Any) -> list[Any]:
    """The values of an axis, which may be a single one."""
    return list(values) if isinstance(values, list | tuple) else [values]
