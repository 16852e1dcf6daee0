"""What stock Linux offers: who steers (RPS), how packets are coalesced (GRO); and what is in effect.

Whatever is applied, every device of the target has its value set: a baseline must say what it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from steering import cores, netns, sysfs
from steering.errors import BadInput, unknown
from steering.knobs import Knob, read_knobs
from steering.settings import Feature, Missing, RpsMask, Setting, Sysctl
from steering.spec import Spec
from steering.target import Place, Target
from steering.undo import Changes

_FEATURES = ("rx-gro", "rx-gro-list")
_SHOWN = (*_FEATURES, "tx-checksum-ip-generic", "tx-tcp-segmentation")
_HOOKS = tuple(f"bridge-nf-call-{tables}" for tables in ("iptables", "ip6tables", "arptables"))


class Mask(Knob):
    """A set of cores, hexadecimal; 0 stands for the default, which the NIC's core decides."""

    def read(self, name: str, text: str) -> int:
        """The mask; BadInput where it is none, or has a core that may not be used here."""
        found = cores.from_mask(text)
        for core in found:
            cores.require_usable(core)
        return _mask_of(found)


_MASK = Mask(0, 1, (1 << 64) - 1, "cores (hexadecimal)", "who gets packets; all but the NIC's, if left out")
_NETFILTER = Knob(0, 0, 1, "(no, yes)", "whether packets on the bridge pass iptables' hooks, too")


@dataclass(frozen=True)
class Stock:
    """One thing that stock Linux offers."""

    summary: str
    knobs: Mapping[str, Knob] = field(default_factory=dict)
    rps: str = ""
    """Whose packets RPS hands on: those of the ``nic``, of the ``tunnel``, or nobody's."""
    features: tuple[str, ...] = ()
    """What is on at the NIC."""


STEERING: dict[str, Stock] = {
    "none": Stock("no RPS: the NIC's core does everything", {"netfilter": _NETFILTER}),
    "rps": Stock(
        "RPS at the NIC: it hands on a flow's packets, tunnel and all",
        {"mask": _MASK, "netfilter": _NETFILTER},
        rps="nic",
    ),
    "rps-vxlan": Stock(
        "RPS at the tunnel: it hands on a flow's packets after the NIC's core has unpacked them",
        {"mask": _MASK, "netfilter": _NETFILTER},
        rps="tunnel",
    ),
}
COALESCING: dict[str, Stock] = {
    "gro": Stock("GRO at the NIC", features=("rx-gro",)),
    "gro-list": Stock("GRO at the NIC, of UDP as well: into lists of packets", features=_FEATURES),
}


@dataclass(frozen=True)
class Wanted:
    """What is to be in effect; masks as `RpsMask` has them."""

    masks: Mapping[str, str]
    """By ``nic`` and ``tunnel``; ``0`` for those that are not in it."""
    features: frozenset[str]
    netfilter: bool


def check(steering: Spec | None, coalescing: Sequence[Spec], nic_core: int, has_tunnel: bool) -> Wanted:
    """What these specs want; looks at no device.

    Without ``steering`` a policy of ours runs: RPS and netfilter are off. ``nic_core`` gets no packets from
    RPS, unless a mask says so, or it is the only core.

    Raises:
        BadInput: unknown name, knob, value or core, or something that needs a tunnel where there is none.
    """
    masks: dict[str, str] = {}
    netfilter = False
    if steering is not None:
        stock, values = _known("stock steering", STEERING, steering)
        netfilter = bool(values["netfilter"])
        if not has_tunnel and (stock.rps == "tunnel" or netfilter):
            raise BadInput(f"'{steering}' is for tunnel and bridge, which this case does not have")
        if stock.rps:
            masks[stock.rps] = f"{values['mask'] or _all_but(nic_core):x}"
    stocks = [_known("coalescing", COALESCING, spec)[0] for spec in coalescing]
    if len(stocks) > 1:
        raise BadInput(f"'{'+'.join(map(str, coalescing))}': choose one of {', '.join(COALESCING)}, or none")
    return Wanted(masks, frozenset(name for stock in stocks for name in stock.features), netfilter)


def apply(
    target: Target, steering: Spec | None, coalescing: Sequence[Spec], nic_core: int, changes: Changes
) -> None:
    """Set what these specs want (:func:`check`), until ``changes`` are put back.

    Raises:
        BadInput: as :func:`check`, or netfilter that this kernel does not have; nothing is changed.
        OversprayError: a device lacks something, or the kernel refused; ``changes`` have what was changed.
    """
    wanted = check(steering, coalescing, nic_core, target.tunnel is not None)
    for ns, setting, value in list(_needed(target, wanted)):  # the whole list first: it may yet refuse
        changes.set(ns, setting, value)


def differing(target: Target, steering: Spec | None, coalescing: Sequence[Spec], nic_core: int) -> list[str]:
    """What is in effect and is not what these specs want, a line each: ``rx-gro of nic0 is on, not off``.

    Raises as :func:`apply`.
    """
    wanted, found = check(steering, coalescing, nic_core, target.tunnel is not None), []
    for ns, setting, value in _needed(target, wanted):
        with netns.entered(ns):
            if (now := setting.read()) != value:
                found.append(f"{setting} is {now}, not {value}")
    return found


def effective(target: Target) -> dict[str, str]:
    """What is in effect, read back, such as ``{"nic0 rps_cpus": "2", "nic0 rx-gro": "on", …}``.

    The first container speaks for all of them. What this kernel lacks is left out.
    """
    nic, tunnel = target.nic, target.tunnel
    with netns.entered(nic.ns):
        netns.index(nic.device)  # says so where it is gone
        with sysfs.opened() as root:
            found = {f"{nic.device} mtu": sysfs.read(root, f"class/net/{nic.device}/mtu")}
    found |= _shown(nic, "rps_cpus", RpsMask(nic.device))
    if tunnel:
        found |= _shown(tunnel.place, "rps_cpus", RpsMask(tunnel.place.device))
    for name in _SHOWN:
        found |= _shown(nic, name, Feature(nic.device, name))
    for endpoint in target.endpoints[:1]:
        found |= _shown(endpoint.own, "rx-gro", Feature(endpoint.own.device, "rx-gro"))
    for ns, hook in _hooks(target)[:1]:
        with netns.entered(ns):
            found[hook.path.name] = hook.read()
    return found


def _needed(target: Target, wanted: Wanted) -> Iterator[tuple[str, Setting, str]]:
    """Namespace, setting and value of everything that is to be set; raises as :func:`apply`."""
    nic, tunnel = target.nic, target.tunnel
    yield nic.ns, RpsMask(nic.device), wanted.masks.get("nic", "0")
    for name in _FEATURES:
        yield nic.ns, Feature(nic.device, name), "on" if name in wanted.features else "off"
    if tunnel:
        yield tunnel.place.ns, RpsMask(tunnel.place.device), wanted.masks.get("tunnel", "0")
    hooks = _hooks(target)
    if wanted.netfilter and not hooks:
        raise BadInput("netfilter=1: the kernel has no bridge netfilter: type 'modprobe br_netfilter'")
    for ns, hook in hooks:
        yield ns, hook, f"{wanted.netfilter:d}"


def _hooks(target: Target) -> list[tuple[str, Sysctl]]:
    """Those there are; the bridge is where the tunnel is."""
    if target.tunnel is None:
        return []
    ns = target.tunnel.place.ns
    with netns.entered(ns):
        hooks = [Sysctl(f"net/bridge/{name}") for name in _HOOKS]
        return [(ns, hook) for hook in hooks if hook.path.exists()]


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
