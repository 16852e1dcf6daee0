"""Stock steering: what Linux itself offers to choose the core; and what is in effect.

Set through :class:`steering.undo.Changes`, so all of it is put back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steering import netns
from steering.coalescing import COALESCING
from steering.coalescing.netfilter import HOOKS
from steering.coalescing.softirq import BUDGET_PACKETS, BUDGET_TIME, WEIGHT_PACKETS
from steering.errors import BadInput, OversprayError, unknown
from steering.policy import Knob
from steering.settings import Channels, Feature, LinkAttribute, Setting, Sysctl, Sysfs, Value
from steering.spec import Spec
from steering.target import (
    INITIAL,
    STAGES,
    Apply,
    Container,
    Place,
    Stock,
    StockTarget,
    chosen,
    mask_knob,
    rx_queues,
    stage_knobs,
)
from steering.undo import Changes

__all__ = [
    "COALESCING",
    "STEERING",
    "Container",
    "Stock",
    "StockTarget",
    "check",
    "coalesce",
    "effective",
    "steer",
]

# The flow table is the kernel's, not a namespace's: its sysctl is seen in the initial one only.
_FLOW_ENTRIES = "net/core/rps_sock_flow_entries"


@dataclass(frozen=True)
class _Tuple(Knob):
    """The fields that a NIC hashes: 2 or 4."""

    def read(self, name: str, text: str) -> int:
        value = super().read(name, text)
        if value == 3:
            raise BadInput(f"{name}=3: choose 2 (addresses) or 4 (addresses and ports)")
        return value


def _none(target: StockTarget, values: Mapping[str, int], changes: Changes) -> None:
    """No RPS anywhere, whatever was set before: a baseline must say what it is."""
    for stage in STAGES:
        for place in target.stage(stage):
            _set_queues(place, {"rps_cpus": "0"}, changes)


def _rps(name: str, stage: str) -> Apply:
    def apply(target: StockTarget, values: Mapping[str, int], changes: Changes) -> None:
        places = chosen(target, {stage: 1}, name)
        _none(target, {}, changes)
        for place in places:
            _set_queues(place, {"rps_cpus": f"{values['mask']:x}"}, changes)

    return apply


def _rfs(target: StockTarget, values: Mapping[str, int], changes: Changes) -> None:
    places = chosen(target, values, "rfs")
    _none(target, {}, changes)
    entries = _power_of_two(values["entries"])
    changes.sysctl(INITIAL, _FLOW_ENTRIES, entries)
    for place in places:
        count = _power_of_two(entries // len(rx_queues(place)))
        mask = f"{values['mask']:x}"
        _set_queues(place, {"rps_cpus": mask, "rps_flow_cnt": count}, changes)


def _set_queues(place: Place, wanted: Mapping[str, Value], changes: Changes) -> None:
    settings: dict[Setting, Value] = {
        Sysfs(f"{queue}/{key}"): value
        for queue in rx_queues(place)
        for key, value in wanted.items()
    }
    changes.set(place.ns, settings)


def _power_of_two(number: int) -> int:
    """The next power of two, as the kernel rounds its tables."""
    return 1 << max(0, number - 1).bit_length()


_MASK = "the cores that packets are handed to"

STEERING: dict[str, Stock] = {
    each.name: each
    for each in (
        Stock("none", "one core does everything: the one that the NIC's queue interrupts", _none),
        Stock(
            "rss",
            "the NIC picks the receive queue by a Toeplitz hash, once per flow",
            # The hash itself is the wire's: it stands for the NIC (docs/lab.md).
            _none,
            {"tuple": _Tuple(4, 2, 4, "fields", "2: addresses; 4: addresses and ports")},
        ),
        Stock(
            "rps",
            "the first softirq hands a flow's packets to one core, before the tunnel",
            _rps("rps", "nic"),
            {"mask": mask_knob(_MASK)},
        ),
        Stock(
            "rps-vxlan",
            "RPS on the tunnel device: decapsulated on the NIC's core, the rest on another",
            _rps("rps-vxlan", "tunnel"),
            {"mask": mask_knob(_MASK)},
        ),
        Stock(
            "rps-veth",
            "RPS on the container's end of its veth: only the container's stack on another core",
            _rps("rps-veth", "container"),
            {"mask": mask_knob(_MASK)},
        ),
        Stock(
            "rfs",
            "RPS to the core on which the flow's application last read",
            _rfs,
            {
                "mask": mask_knob("where flows go that no application has read yet"),
                "entries": Knob(32768, 16, 1 << 20, "flows", "size of the table; a power of two"),
                **stage_knobs(nic=1, tunnel=0, container=0),
            },
        ),
    )
}


def steer(target: StockTarget, spec: Spec, changes: Changes) -> None:
    """Set a stock steering.

    Raises:
        BadInput: unknown name, knob or value, or the target lacks the device; nothing is changed.
        OversprayError: the kernel refused; ``changes`` has what to put back.
    """
    stock = _find("stock steering", STEERING, spec)
    stock.apply(target, stock.values(spec.args), changes)


def coalesce(target: StockTarget, specs: Sequence[Spec], changes: Changes) -> None:
    """Set stock coalescing, one after the other; raises as :func:`steer`."""
    for spec in specs:
        _find("coalescing", COALESCING, spec).values(spec.args)
    for spec in specs:
        stock = COALESCING[spec.name]
        stock.apply(target, stock.values(spec.args), changes)


def check(steering: Spec | None, coalescing: Sequence[Spec] = ()) -> None:
    """BadInput for a name, knob or value that does not exist; looks at no device."""
    if steering is not None:
        _find("stock steering", STEERING, steering).values(steering.args)
    for spec in coalescing:
        _find("coalescing", COALESCING, spec).values(spec.args)


def _find(kind: str, shelf: Mapping[str, Stock], spec: Spec) -> Stock:
    if spec.name not in shelf:
        raise unknown(kind, spec.name, shelf)
    return shelf[spec.name]


def effective(target: StockTarget) -> dict[str, dict[str, Value]]:
    """What is in effect, read back: by device, then by setting; ``""`` is the whole host.

    Containers that have all in common are one row, such as ``eth0 (80)``. What a device does not
    have (a tunnel has no channels) is left out.
    """
    found: dict[str, dict[str, Value]] = {}
    for place in [*target.stage("nic"), *target.stage("tunnel")]:
        found[place.device] = _of_device(place)
    groups: list[tuple[str, dict[str, Value], int]] = []
    for place in target.stage("container"):
        row = _of_device(place)
        if groups and groups[-1][1] == row:
            groups[-1] = (groups[-1][0], row, groups[-1][2] + 1)
        else:
            groups.append((f"{place.ns} {place.device}", row, 1))
    for name, row, count in groups:
        found[name if count == 1 else f"{name} and {count - 1} like it"] = row
    found[""] = _of_host(target)
    return found


def _of_device(place: Place) -> dict[str, Value]:
    folder, queues = f"class/net/{place.device}", rx_queues(place)
    readings: dict[str, list[Setting]] = {
        name: [Sysfs(f"{queue}/{name}") for queue in queues]
        for name in ("rps_cpus", "rps_flow_cnt")
    }
    for name in ("threaded", "gro_flush_timeout", "napi_defer_hard_irqs"):
        readings[name] = [Sysfs(f"{folder}/{name}")]
    for name in ("rx-gro", "rx-gro-list", "rx-udp-gro-forwarding"):
        readings[name] = [Feature(place.device, name)]
    readings["gro_max_size"] = [LinkAttribute(place.device, "gro_max_size")]
    readings["channels"] = [Channels(place.device)]
    return netns.in_namespace(place.ns, lambda: _read_all(readings))


def _of_host(target: StockTarget) -> dict[str, Value]:
    with netns.entered(INITIAL):
        found = _read_all({"rps_sock_flow_entries": [Sysctl(_FLOW_ENTRIES)]})
        for key in (BUDGET_PACKETS, BUDGET_TIME, WEIGHT_PACKETS):
            found |= _read_all({key.rpartition("/")[2]: [Sysctl(key)]})
    if target.containers:
        with netns.entered(target.tunnel_ns):
            found |= _read_all({hook.rpartition("/")[2]: [Sysctl(hook)] for hook in HOOKS})
    return found


def _read_all(readings: Mapping[str, list[Setting]]) -> dict[str, Any]:
    """Each value, or the values of several queues with blanks between where they differ."""
    found: dict[str, Any] = {}
    for name, settings in readings.items():
        try:
            values = [setting.read() for setting in settings]
        except OversprayError:
            continue
        same = all(value == values[0] for value in values)
        found[name] = values[0] if values and same else " ".join(map(str, values))
    return found
