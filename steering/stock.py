"""What stock Linux offers: who steers (RPS, RFS), how packets are coalesced (GRO, timers, threads).

Whatever is applied, every device of the target has its value set: a baseline must say what it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from steering import cores, netns, sysfs
from steering.errors import BadInput, unknown
from steering.knobs import Knob, cores_knob, read_knobs
from steering.settings import (
    Attribute,
    Feature,
    Missing,
    NapiCores,
    RpsFlows,
    RpsMask,
    Setting,
    Sysctl,
    Threaded,
)
from steering.spec import Spec
from steering.target import Place, Target
from steering.undo import Changes

PATH = ("nic", "vxlan", "veth")
"""The devices that a packet comes through, and that can hand it on: NIC, tunnel, the containers' own ends."""
NOBODY: Mapping[str, str] = {}
"""No masks: no device hands packets on."""
_FEATURES = ("rx-gro", "rx-gro-list", "rx-udp-gro-forwarding")
_SHOWN = (*_FEATURES, "tx-checksum-ip-generic", "tx-tcp-segmentation")
_HOOKS = tuple(f"bridge-nf-call-{tables}" for tables in ("iptables", "ip6tables", "arptables"))
_FLUSH, _DEFER = "gro_flush_timeout", "napi_defer_hard_irqs"
_RFS = Sysctl("net/core/rps_sock_flow_entries")
"""The whole machine's."""
_SOCKETS, _FLOWS = "32768", "4096"
"""Of RFS: sockets that the machine knows of, flows of each queue (powers of two, more than a wire sends)."""


_MASK = cores_knob("who gets packets; all but the NIC's, if left out")
_NETFILTER = Knob(0, 0, 1, "(no, yes)", "whether packets on the bridge pass iptables' hooks, too")


@dataclass(frozen=True)
class Stock:
    """One thing that stock Linux offers."""

    summary: str
    knobs: Mapping[str, Knob] = field(default_factory=dict)
    first: str = ""
    """Of `PATH`, the device at which RPS begins to hand packets on; empty: none does."""
    follows: bool = False
    """Whether they go where the flow's reader is (RFS)."""
    features: tuple[str, ...] = ()
    """What is on at the NIC."""


def _behind(device: str) -> dict[str, Knob]:
    """A mask for each device behind that one makes it hand packets on once more."""
    names = PATH[PATH.index(device) + 1 :]
    return {
        name: cores_knob(f"who gets packets from the {name}; nobody is asked, if left out") for name in names
    }


def _steering(first: str, summary: str, follows: bool = False) -> Stock:
    """RPS that begins there."""
    return Stock(summary, {"mask": _MASK, **_behind(first), "netfilter": _NETFILTER}, first, follows)


STEERING: dict[str, Stock] = {
    "none": Stock("no RPS: the NIC's core does everything", {"netfilter": _NETFILTER}),
    "rss": Stock(
        "RSS: a hash of the outermost headers picks one of the NIC's queues, each with a core of its own",
        {
            "mask": cores_knob("cores that have a queue; all that may be used, if left out"),
            "ports": Knob(1, 0, 1, "(no, yes)", "whether ports are hashed, too, or addresses alone"),
            **_behind("nic"),
            "netfilter": _NETFILTER,
        },
    ),
    "rps": _steering("nic", "RPS at the NIC: it hands on a flow's packets, tunnel and all"),
    "rps-vxlan": _steering(
        "vxlan", "RPS at the tunnel: it hands on a flow's packets after the NIC's core has unpacked them"
    ),
    "rps-veth": _steering(
        "veth", "RPS at the containers' ends: it hands on a flow's packets after tunnel and bridge"
    ),
    "rfs": _steering("nic", "RFS at the NIC: RPS, but to the core of the flow's reader", True),
    "rfs-vxlan": _steering("vxlan", "RFS at the tunnel: RPS, but to the core of the flow's reader", True),
    "rfs-veth": _steering("veth", "RFS at the containers' ends: RPS, but to the core of the reader", True),
}
COALESCING: dict[str, Stock] = {
    "gro": Stock("GRO at the NIC", features=("rx-gro",)),
    "gro-list": Stock("GRO at the NIC, of UDP as well: into lists of packets", features=_FEATURES[:2]),
    "udp-forward": Stock(
        "GRO at the NIC, of UDP as well: into one large packet, cut again at the socket",
        features=("rx-gro", "rx-udp-gro-forwarding"),
    ),
    "defer": Stock(
        "the NIC is polled again by a timer, as long as it has packets, in place of interrupts",
        {
            "usecs": Knob(20, 1, 1_000_000, "µs", "from one poll to the next"),
            "irqs": Knob(1, 1, 1_000_000, "polls", "in vain, before interrupts are on again"),
        },
    ),
    "threaded": Stock(
        "a thread of the kernel polls the NIC, in place of a softirq",
        {"mask": cores_knob("where the threads may run; all but the NIC's core, if left out")},
    ),
}


@dataclass(frozen=True)
class Wanted:
    """What is to be in effect; masks as `RpsMask` has them."""

    masks: Mapping[str, str]
    """Of RPS, by device (`PATH`); those that are not in it have none."""
    features: frozenset[str]
    netfilter: bool
    follows: bool = False
    defer: Mapping[str, str] = field(default_factory=dict)
    """Attributes of the NIC that put off its interrupts; empty: they are 0."""
    threads: str = ""
    """Mask of the threads that poll the NIC; empty: none do."""
    queues: tuple[int, ...] = ()
    """Cores among which the NIC spreads flows by RSS; empty: it has one queue."""
    ports: bool = False
    """Whether RSS hashes ports."""


def check(
    steering: Spec | None,
    coalescing: Sequence[Spec],
    nic_core: int,
    path: Sequence[str] = PATH,
    rps: Mapping[str, str] = NOBODY,
) -> Wanted:
    """What these specs want; looks at no device.

    Without ``steering`` a policy of ours runs: netfilter is off, and RPS as ``rps`` says (`plan.Plan.rps`).
    ``nic_core`` gets no packets from RPS, unless a mask says so, or it is the only core. ``path``: the
    devices that there are (`path_of`).

    Raises:
        BadInput: unknown name, knob, value or core, or something for a device that there is not.
    """
    masks = {**rps}
    netfilter = follows = ports = False
    queues: tuple[int, ...] = ()
    if steering is not None:
        stock, values = _known("stock steering", STEERING, steering)
        netfilter, follows = bool(values["netfilter"]), stock.follows
        if stock.first:
            masks[stock.first] = f"{values['mask'] or _all_but(nic_core):x}"
        masks |= {name: f"{values[name]:x}" for name in PATH if values.get(name)}
        if steering.name == "rss":
            ports = bool(values["ports"])
            queues = tuple(cores.from_mask(f"{values['mask']:x}") if values["mask"] else cores.usable())
        if masks.keys() - {*path} or (netfilter and PATH[-1] not in path):  # a bridge is for veths
            raise BadInput(f"'{steering}' is for devices that this case does not have")
    known = [(spec.name, *_known("coalescing", COALESCING, spec)) for spec in coalescing]
    knobs = {name: values for name, _, values in known}
    kinds = [name for name, stock, _ in known if stock.features]
    if len(kinds) > 1 or len(knobs) < len(known):
        choice = ", ".join(name for name, stock in COALESCING.items() if stock.features)
        raise BadInput(f"'{'+'.join(map(str, coalescing))}': choose one of {choice}, and any other once")
    defer, threads = knobs.get("defer"), knobs.get("threaded")
    return Wanted(
        masks,
        frozenset(name for _, stock, _ in known for name in stock.features),
        netfilter,
        follows,
        {_FLUSH: f"{defer['usecs'] * 1000}", _DEFER: f"{defer['irqs']}"} if defer else {},
        f"{threads['mask'] or _all_but(nic_core):x}" if threads else "",
        queues,
        ports,
    )


def apply(
    target: Target,
    steering: Spec | None,
    coalescing: Sequence[Spec],
    nic_core: int,
    changes: Changes,
    rps: Mapping[str, str] = NOBODY,
) -> None:
    """Set what these specs want (:func:`check`), until ``changes`` are put back.

    What polls a veth begins with GRO or an XDP program: threads are given cores only after that.

    Raises:
        BadInput: as :func:`check`, or netfilter that this kernel does not have; nothing is changed.
        OversprayError: a device lacks something, or the kernel refused; ``changes`` have what was changed.
    """
    wanted = check(steering, coalescing, nic_core, path_of(target), rps)
    for ns, setting, value in list(_needed(target, wanted)):  # the whole list first: it may yet refuse
        changes.set(ns, setting, value)


def coalescing_of(
    nic: Place, coalescing: Sequence[Spec], nic_core: int, rps: Mapping[str, str] = NOBODY
) -> Iterator[tuple[str, Setting, str]]:
    """Namespace, setting and value of what these specs, and RPS, need of a NIC; all else may stay as it is.

    Raises BadInput as :func:`check`.
    """
    wanted = check(None, coalescing, nic_core, PATH[:1], rps)
    if mask := wanted.masks.get(PATH[0]):
        yield nic.ns, RpsMask(nic.device), mask
    threaded, *timers = _polling(nic.device)
    for name in _FEATURES:
        if name in wanted.features:
            yield nic.ns, Feature(nic.device, name), "on"
    for timer in timers:
        if timer.name in wanted.defer:
            yield nic.ns, timer, wanted.defer[timer.name]
    if wanted.threads:
        yield nic.ns, threaded, "1"
        yield nic.ns, NapiCores(nic.device), wanted.threads


def path_of(target: Target) -> Sequence[str]:
    """Which of `PATH` a target has."""
    return PATH[: 1 + bool(target.tunnels) + bool(target.endpoints)]


def differing(
    target: Target,
    steering: Spec | None,
    coalescing: Sequence[Spec],
    nic_core: int,
    rps: Mapping[str, str] = NOBODY,
) -> list[str]:
    """What is in effect and is not what these specs want, a line each: ``rx-gro of nic0 is on, not off``.

    Raises as :func:`apply`.
    """
    wanted, found = check(steering, coalescing, nic_core, path_of(target), rps), []
    for ns, setting, value in _needed(target, wanted):
        with netns.entered(ns):
            if (now := setting.read()) != value:
                found.append(f"{setting} is {now}, not {value}")
    return found


def effective(target: Target) -> dict[str, str]:
    """What is in effect, read back, such as ``{"nic0 rps_cpus": "2", "nic0 rx-gro": "on", …}``.

    The first container speaks for all of them. What this kernel lacks is left out.
    """
    nic = target.nic
    with netns.entered(nic.ns):
        netns.index(nic.device)  # says so where it is gone
        with sysfs.opened() as root:
            found = {f"{nic.device} mtu": sysfs.read(root, f"class/net/{nic.device}/mtu")}
    for places in _places(target).values():
        for place in places[:1]:
            found |= _shown(place, "rps_cpus", RpsMask(place.device))
            found |= _shown(place, "rps_flow_cnt", RpsFlows(place.device))
    for name in _SHOWN:
        found |= _shown(nic, name, Feature(nic.device, name))
    for setting in (*_polling(nic.device), NapiCores(nic.device)):
        found |= _shown(nic, str(setting).partition(" ")[0], setting)
    for endpoint in target.endpoints[:1]:
        found |= _shown(endpoint.own, "rx-gro", Feature(endpoint.own.device, "rx-gro"))
    with suppress(Missing):
        found[_RFS.path.name] = _RFS.read()
    for ns, hook in _hooks(target)[:1]:
        with netns.entered(ns):
            found[hook.path.name] = hook.read()
    return found


def _needed(target: Target, wanted: Wanted) -> Iterator[tuple[str, Setting, str]]:
    """Namespace, setting and value of everything that is to be set; raises as :func:`apply`."""
    nic = target.nic
    for name, places in _places(target).items():
        mask = wanted.masks.get(name, "0")
        for place in places:
            yield place.ns, RpsMask(place.device), mask
            follows = wanted.follows and mask != "0"
            yield from _offered(place.ns, RpsFlows(place.device), _FLOWS if follows else "0")
    if wanted.follows:
        yield netns.OWN, _RFS, _SOCKETS
    for name in _FEATURES:
        yield from _offered(nic.ns, Feature(nic.device, name), "on" if name in wanted.features else "off")
    threaded, *timers = _polling(nic.device)
    for timer in timers:
        yield from _offered(nic.ns, timer, wanted.defer.get(timer.name, "0"))
    yield from _offered(nic.ns, threaded, "1" if wanted.threads else "0")
    if wanted.threads:
        yield nic.ns, NapiCores(nic.device), wanted.threads
    hooks = _hooks(target)
    if wanted.netfilter and not hooks:
        raise BadInput("netfilter=1: the kernel has no bridge netfilter: type 'modprobe br_netfilter'")
    for ns, hook in hooks:
        yield ns, hook, f"{wanted.netfilter:d}"


def _places(target: Target) -> dict[str, list[Place]]:
    """The devices of each part of `PATH`."""
    tunnels = [tunnel.place for tunnel in target.tunnels]
    ends = [endpoint.own for endpoint in target.endpoints]
    return dict(zip(PATH, ([target.nic], tunnels, ends), strict=True))


def _polling(device: str) -> tuple[Attribute, ...]:
    """How it is polled; the order in which that is set."""
    return Threaded(device), Attribute(device, _FLUSH), Attribute(device, _DEFER)


def _offered(ns: str, setting: Setting, value: str) -> Iterator[tuple[str, Setting, str]]:
    """What is to be off is off where this kernel does not have it."""
    if value in ("0", "off"):
        with netns.entered(ns):
            try:
                setting.read()
            except Missing:
                return
    yield ns, setting, value


def _hooks(target: Target) -> list[tuple[str, Sysctl]]:
    """Those there are; a bridge is where its tunnel is."""
    hooks = [Sysctl(f"net/bridge/{name}") for name in _HOOKS]
    found = []
    for ns in dict.fromkeys(tunnel.place.ns for tunnel in target.tunnels):
        with netns.entered(ns):
            found += [(ns, hook) for hook in hooks if hook.path.exists()]
    return found


def _shown(place: Place, name: str, setting: Setting) -> dict[str, str]:
    with netns.entered(place.ns), suppress(Missing):
        return {f"{place.device} {name}": setting.read()}
    return {}


def _known(kind: str, shelf: Mapping[str, Stock], spec: Spec) -> tuple[Stock, dict[str, int]]:
    if spec.name not in shelf:
        raise unknown(kind, spec.name, shelf)
    stock = shelf[spec.name]
    return stock, read_knobs(f"'{spec.name}'", stock.knobs, spec.args)


def _all_but(nic_core: int) -> int:
    return _mask_of([core for core in cores.usable() if core != nic_core] or [nic_core])


def _mask_of(found: Sequence[int]) -> int:
    return sum(1 << core for core in found)
