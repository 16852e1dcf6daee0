"""The lab: network namespaces that hold one receive path, and nothing that anybody else made.

    native:   wire: wire0 <-> nic0 :host
    linux:    wire: wire0 <-> nic0, vxlan0 :host
    flannel:  wire: wire0 <-> nic0, vxlan0, br0, veth0 :host <-> eth0 :c0
    docker:   wire: wire0 <-> nic0 :host, overlay: vxlan0, br0, veth0 <-> eth0 :c0

A lab belongs to a process, which its namespaces' names tell (`steering.owner`): so a dead one's are known,
and the next lab removes them. Only the lab that `overspray lab up` leaves has a name of its own, `os-up-…`.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from bench import lab_build
from bench.exclusive import lab_lock
from bench.lab_plan import WITH_CONTAINERS, Plan
from steering import netns, owner, undo
from steering.errors import OversprayError
from steering.owner import Owner
from steering.target import Endpoint, Place, Target, Tunnel

_UP = "os-up"
_ROLE = r"(?:wire|host|overlay|c\d+)"
_OWNED = re.compile(rf"os-{owner.PATTERN}-\d+-{_ROLE}")
_numbers = itertools.count()


@dataclass(frozen=True)
class Lab:
    """A lab that is up; the names of its namespaces and devices."""

    plan: Plan
    names: Mapping[str, str]
    """Role -> namespace, in the order of the plan."""
    wire_index: int
    """ifindex of ``plan.wire`` in the wire's namespace."""
    nic_index: int
    """ifindex of ``plan.nic`` in the host's namespace."""
    veth_indexes: tuple[int, ...]
    """ifindex of each container's veth, in the namespace of the bridge."""

    @property
    def case(self) -> str:
        """The receive path."""
        return self.plan.case

    @property
    def wire_ns(self) -> str:
        """The other machine."""
        return self.names["wire"]

    @property
    def host_ns(self) -> str:
        """This machine: the namespace of the NIC."""
        return self.names["host"]

    @property
    def sinks(self) -> tuple[tuple[str, str], ...]:
        """Where packets end: namespace and address of each container, or of the host itself."""
        ends = tuple((self.names[each.role], each.ip) for each in self.plan.containers)
        return ends or ((self.host_ns, self.plan.receiver[1]),)

    @property
    def target(self) -> Target:
        """The receive path, as steering wants it."""
        plan, nic = self.plan, Place(self.host_ns, self.plan.nic)
        if not plan.has_tunnel:
            return Target(nic, self.nic_index, plan.nic_mac)
        place = Place(self.names[plan.overlay_role], plan.tunnel)
        ends = tuple(
            Endpoint(each.mac, Place(self.names[each.role], "eth0"), index, plan.inner_mtu)
            for each, index in zip(plan.containers, self.veth_indexes, strict=True)
        )
        vteps = plan.nic_ip, (plan.wire_ip,)
        tunnel = Tunnel(place, plan.tunnel_mac, plan.vni, plan.port, *vteps, ends)
        return Target(nic, self.nic_index, plan.nic_mac, (tunnel,))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        about = {"case": self.case, "wire_ns": self.wire_ns, "host_ns": self.host_ns}
        return {**about, **asdict(self), "names": dict(self.names)}


@contextmanager
def lab(case: str = "native", containers: int = 1, inner: int = 4, outer: int = 4) -> Iterator[Lab]:
    """A lab until the end of the block, the only one on this machine.

    ``inner`` and ``outer`` are IP versions, as the plan's.

    Raises:
        BadInput: no such case or IP version, or not so many containers.
        OversprayError: another lab is in use, or the kernel refused a part.
    """
    with several([Plan(case, containers, inner, outer)]) as made:
        yield made[case]


def planned(case: str, containers: int, mtu: int = Plan.inner_mtu, inner: int = 4, outer: int = 4) -> Plan:
    """What a lab of that case is to be, among labs of several cases: one that has no containers, or no
    tunnel, has none."""
    count, outer = containers if case in WITH_CONTAINERS else 1, 4 if case == "native" else outer
    return Plan(case, count, inner, outer, inner_mtu=mtu)


@contextmanager
def several(plans: Iterable[Plan]) -> Iterator[dict[str, Lab]]:
    """A lab of each case, at once, for those who compare them; else as :func:`lab`."""
    with lab_lock(), ExitStack() as stack:
        remove_leftovers()
        undo.put_back_leftovers()
        yield {plan.case: stack.enter_context(_made(plan)) for plan in plans}


@contextmanager
def _made(plan: Plan) -> Iterator[Lab]:
    names = _names(f"os-{Owner.me()}-{next(_numbers)}", plan)
    try:
        lab_build.build(plan, names)
        yield _found(plan, names)
    finally:
        _remove(names.values())


def up(
    case: str = "native", containers: int = 1, mtu: int = Plan.inner_mtu, inner: int = 4, outer: int = 4
) -> Lab:
    """Make a lab that stays until :func:`down`; it is there whole, or not at all."""
    with several([Plan(case, containers, inner, outer, inner_mtu=mtu)]) as found:
        made = found[case]
        if _is_up():
            raise OversprayError("a lab is up already: 'overspray lab down' removes it")
        _remove(_of_up())
        names = _names(_UP, made.plan)
        for role in reversed(names):  # the wire's last: it says that all are there
            netns.rename(made.names[role], names[role])
    return _found(made.plan, names)


def down() -> list[str]:
    """Remove the lab that is up, and what killed runs left; returns the removed namespaces."""
    with lab_lock():
        return [*_remove(_of_up()), *remove_leftovers()]


@dataclass(frozen=True)
class Namespace:
    """A namespace of a lab, whoever made it."""

    name: str
    state: str
    """``up``, ``in use``, ``left over``; ``unknown``: of a process in another pid namespace."""
    owner: int | None
    """Process id of the run that it belongs to."""
    processes: list[int]
    """Who lives in it."""


def show() -> list[Namespace]:
    """Every namespace of every lab on this machine. Changes nothing."""
    found = []
    whole, ups = _is_up(), _of_up()
    for name in netns.names():
        if whose := _owner_of(name):
            state = "left over" if whose.is_dead else "in use" if whose.is_visible else "unknown"
            found.append(Namespace(name, state, whose.pid, netns.processes(name)))
        elif name in ups:
            state = "up" if whole else "left over"
            found.append(Namespace(name, state, None, netns.processes(name)))
    return found


def remove_leftovers() -> list[str]:
    """Remove namespaces whose run is dead, and a half-made ``os-up``; needs the lab's lock."""
    there = netns.names()
    dead = [name for name in there if (whose := _owner_of(name)) and whose.is_dead]
    return _remove([*dead, *([] if _is_up() else _of_up())])


def _owner_of(name: str) -> Owner | None:
    found = _OWNED.fullmatch(name)
    return Owner.of(found) if found else None


def _names(stem: str, plan: Plan) -> dict[str, str]:
    return {role: f"{stem}-{role}" for role in plan.roles}


def _is_up() -> bool:
    """Whether a lab is up, whole: the wire's namespace gets its name last, and loses it first."""
    return netns.exists(f"{_UP}-wire")


def _of_up() -> list[str]:
    """The namespaces of the lab that is up, or of what is left of it; the wire's first."""
    found = [name for name in netns.names() if re.fullmatch(rf"{_UP}-{_ROLE}", name)]
    return sorted(found, key=lambda name: not name.endswith("-wire"))


def _found(plan: Plan, names: Mapping[str, str]) -> Lab:
    """The lab that has been built under these names."""
    wire = lab_build.index(names["wire"], plan.wire)
    nic = lab_build.index(names["host"], plan.nic)
    veths = (lab_build.index(names[plan.overlay_role], each.veth) for each in plan.containers)
    return Lab(plan, names, wire, nic, tuple(veths))


def _remove(names: Iterable[str]) -> list[str]:
    there = set(netns.names())
    gone = [name for name in names if name in there]
    for name in gone:
        netns.remove(name)
    return gone
