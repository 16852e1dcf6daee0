"""What the facts of several namespaces add up to, and how notifications and files are read."""

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from steering.errors import BadInput, OversprayError
from steering.overlay import HeldNamespace, Overlay, namespaces, period
from steering.overlay.discover import assemble
from steering.overlay.hooks import parse_packet_sockets
from steering.overlay.namespaces import parse_mountinfo
from steering.overlay.view import ADDRESSES, ENTRIES, LINKS, Bridge, Entry, Link, Port, View, Vxlan
from steering.overlay.watch import parts_touched

FORWARDS = Port(forwarding=True, isolated=False, learning=True)
BRIDGE = Bridge(ageing=300, vlan_filtering=False, calls_iptables=False)
VXLAN = Vxlan(
    vni=42,
    port=4789,
    local="192.0.2.1",
    link=0,
    default_remote=None,
    learning=True,
    ageing=200,
    zero_checksum6=False,
    plain=True,
)
FAR, MAC = "192.0.2.2", "02:00:00:00:00:03"


def device(index: int, name: str, kind: str = "", **more: object) -> Link:
    plain = Link(
        index=index,
        name=name,
        kind=kind,
        mac=f"02:00:00:00:00:{index:02x}",
        up=True,
        loopback=name == "lo",
        master=0,
        peer=0,
        peer_nsid=None,
        rx_queues=2,
        qdisc="noqueue",
        xdp=False,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def view(
    *links: Link,
    addresses: dict[int, frozenset[str]] | None = None,
    entries: tuple[Entry, ...] = (),
) -> View:
    return View({link.index: link for link in links}, addresses or {}, entries)


def entry(mac: str, dst: str | None, ifindex: int = 4) -> Entry:
    return Entry(ifindex=ifindex, mac=mac, master=0, dst=dst, state=2, flags=2, vlan=0)


class World:
    """A host like Docker's: the NIC in one namespace, tunnel and bridge in another, containers."""

    def __init__(self, folder: Path) -> None:
        self.host, self.overlay, self.box, self.box2 = (
            self._namespace(folder / name) for name in ("host", "overlay", "box", "box2")
        )
        self.views = {
            self.host: view(
                device(1, "lo"),
                device(2, "nic0"),
                device(5, "nic1"),
                addresses={
                    1: frozenset({"127.0.0.1"}),
                    2: frozenset({"192.0.2.1", "2001:db8::1"}),
                    5: frozenset({"203.0.113.1"}),
                },
            ),
            self.overlay: view(
                device(3, "br0", "bridge", bridge=BRIDGE),
                device(4, "vxlan0", "vxlan", master=3, port=FORWARDS, vxlan=VXLAN, peer_nsid=0),
                self.veth(6, 1),
                self.veth(7, 2),
                entries=(entry("00:00:00:00:00:00", FAR), entry("02:00:00:00:00:99", FAR)),
            ),
            self.box: view(device(3, "eth0", "veth"), addresses={3: frozenset({"10.0.0.3"})}),
            self.box2: view(device(4, "eth0", "veth")),
        }
        self.ids = {0: self.host, 1: self.box, 2: self.box2}

    @staticmethod
    def _namespace(path: Path) -> HeldNamespace:
        path.touch()
        return HeldNamespace(str(path))

    def veth(self, index: int, nsid: int) -> Link:
        other = index - 3
        return device(
            index, f"veth{nsid}", "veth", master=3, port=FORWARDS, peer=other, peer_nsid=nsid
        )

    def change(self, ns: HeldNamespace, index: int, **more: object) -> None:
        links = self.views[ns].links
        changed = replace(links[index], **more)  # type: ignore[arg-type]
        self.views[ns] = replace(self.views[ns], links={**links, index: changed})

    def change_tunnel(self, **more: object) -> None:
        vxlan = replace(VXLAN, **more)  # type: ignore[arg-type]
        self.change(self.overlay, 4, vxlan=vxlan)

    def look(self, nic: str = "nic0") -> Overlay:
        def resolver(ns: HeldNamespace, nsid: int | None) -> HeldNamespace | None:
            return ns if nsid is None else self.ids.get(nsid)

        return assemble(self.views, resolver, self.host, nic)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for ns in made.views:
        ns.close()


def macs(overlay: Overlay) -> set[str]:
    return {end.mac for end in overlay.endpoints}


def test_tunnel_and_containers_of_a_docker_network(world: World) -> None:
    overlay = world.look()
    (tunnel,) = overlay.tunnels
    assert (tunnel.ns, tunnel.device, tunnel.bridge) == (world.overlay, "vxlan0", "br0")
    assert tunnel.remotes == {FAR}
    assert tunnel.remote_macs == {("02:00:00:00:00:99", FAR)}
    assert overlay.paths == {(42, "192.0.2.1", FAR)}
    first, second = sorted(overlay.endpoints, key=lambda end: end.mac)
    assert (first.mac, first.ns, first.host_device) == (MAC, world.box, "veth1")
    assert (first.host_ns, first.host_ifindex, first.ifindex) == (world.overlay, 6, 3)
    assert first.ips == {"10.0.0.3"}
    assert second.ns == world.box2
    assert overlay.namespaces == {world.host, world.overlay, world.box, world.box2}


def test_equal_facts_make_equal_snapshots_and_a_difference_is_the_update(world: World) -> None:
    before = world.look()
    assert before == world.look()
    world.change(world.overlay, 6, up=False, port=replace(FORWARDS, forwarding=False))
    after = world.look()
    assert after != before
    assert {end.mac for end in before.endpoints - after.endpoints} == {MAC}
    assert before.tunnels == after.tunnels


def test_another_address_of_a_container_is_no_change(world: World) -> None:
    before = world.look()
    world.views[world.box] = replace(world.views[world.box], addresses={})
    assert world.look() == before


def test_only_tunnels_that_receive_at_the_nic_count(world: World) -> None:
    assert world.look("nic1").tunnels == frozenset()
    world.change_tunnel(local=None)
    assert world.look("nic1").paths == {(42, "203.0.113.1", FAR)}
    world.change_tunnel(local=None, link=2)
    assert world.look("nic1").tunnels == frozenset()
    assert len(world.look("nic0").tunnels) == 1


def test_a_tunnel_without_an_address_takes_those_of_the_remotes_family(world: World) -> None:
    world.change_tunnel(local=None, default_remote="2001:db8::2")
    assert world.look().paths == {(42, "192.0.2.1", FAR), (42, "2001:db8::1", "2001:db8::2")}


def test_a_tunnel_may_have_an_address_of_the_loopback_device(world: World) -> None:
    world.change_tunnel(local="127.0.0.1")
    assert len(world.look().tunnels) == 1


def test_the_nic_may_be_part_of_a_bond(world: World) -> None:
    links = {**world.views[world.host].links, 9: device(9, "bond0", "bond")}
    addresses = {9: frozenset({"192.0.2.1"})}
    world.views[world.host] = View(links, addresses, ())
    world.change(world.host, 2, master=9)
    overlay = world.look()
    assert overlay.local_ips == {"192.0.2.1"}
    assert len(overlay.tunnels) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"vxlan": replace(VXLAN, plain=False)},
        {"up": False},
        {"peer_nsid": 7},
        {"peer_nsid": 1},
    ],
    ids=["metadata mode", "down", "unknown underlay", "another underlay"],
)
def test_tunnels_that_are_left_alone(world: World, change: dict[str, object]) -> None:
    world.change(world.overlay, 4, **change)
    assert world.look().tunnels == frozenset()
    assert world.look().endpoints == frozenset()


def test_groups_are_no_remote_hosts(world: World) -> None:
    world.change_tunnel(default_remote="239.1.1.1")
    entries = (entry("01:00:5e:00:00:01", FAR), entry("02:00:00:00:00:98", "239.1.1.1"))
    world.views[world.overlay] = replace(world.views[world.overlay], entries=entries)
    (tunnel,) = world.look().tunnels
    assert tunnel.remotes == {FAR}
    assert tunnel.remote_macs == frozenset()


@pytest.mark.parametrize(
    ("learning", "state", "fixed"), [(True, 0x80, True), (True, 2, False), (False, 0x80, False)]
)
def test_senders_are_fixed_by_static_entries_of_a_device_that_learns(
    world: World, learning: bool, state: int, fixed: bool
) -> None:
    world.change_tunnel(learning=learning)
    behind = replace(entry("02:00:00:00:00:98", FAR), state=state)
    world.views[world.overlay] = replace(world.views[world.overlay], entries=(behind,))
    (tunnel,) = world.look().tunnels
    assert tunnel.fixed_macs == ({("02:00:00:00:00:98", FAR)} if fixed else set())


def test_ports_that_get_no_frames_from_the_tunnel(world: World) -> None:
    world.change(world.overlay, 6, port=replace(FORWARDS, forwarding=False))
    assert macs(world.look()) == {"02:00:00:00:00:04"}
    isolated = replace(FORWARDS, isolated=True)
    world.change(world.overlay, 6, port=isolated)
    assert len(world.look().endpoints) == 2
    world.change(world.overlay, 4, port=isolated)
    assert macs(world.look()) == {"02:00:00:00:00:04"}


def test_a_bridge_with_vlans_is_left_to_the_stock_stack(world: World) -> None:
    world.change(world.overlay, 3, bridge=replace(BRIDGE, vlan_filtering=True))
    assert world.look().endpoints == frozenset()
    assert len(world.look().tunnels) == 1


def test_an_end_that_is_part_of_something_else_ends_nothing(world: World) -> None:
    world.change(world.box, 3, master=8)
    assert macs(world.look()) == {"02:00:00:00:00:04"}


def test_two_containers_of_one_mac_are_left_to_the_bridge(world: World) -> None:
    world.change(world.box2, 4, mac=MAC)
    assert world.look().endpoints == frozenset()


def test_a_tunnel_without_a_bridge_is_an_endpoint_itself(world: World) -> None:
    world.views[world.host] = replace(
        world.views[world.host],
        links={
            **world.views[world.host].links,
            8: device(8, "flannel.1", "vxlan", vxlan=replace(VXLAN, vni=1, port=8472)),
        },
    )
    (end,) = (each for each in world.look().endpoints if each.vni == 1)
    assert (end.kind, end.device, end.host_device, end.port) == (
        "tunnel",
        "flannel.1",
        "flannel.1",
        8472,
    )
    assert end.ns == end.host_ns == world.host


def test_no_such_nic(world: World) -> None:
    with pytest.raises(BadInput, match="no device 'nic9'"):
        world.look("nic9")


def test_how_soon_entries_age(world: World) -> None:
    assert period(world.look()) == pytest.approx(200 / 3)
    world.change_tunnel(learning=False)
    assert period(world.look()) == 100
    world.change(world.overlay, 3, bridge=replace(BRIDGE, ageing=0))
    assert period(world.look()) is None


def test_a_namespace_that_was_let_go_cannot_be_entered(tmp_path: Path) -> None:
    (tmp_path / "ns").touch()
    held = HeldNamespace(str(tmp_path / "ns"))
    again = HeldNamespace(str(tmp_path / "ns"))
    assert held == again
    assert Path(held.path).samefile(tmp_path / "ns")
    held.close()
    held.close()
    # The inode may be another namespace's by now.
    assert held != again
    assert held == held
    with pytest.raises(OversprayError, match="is gone"):
        _ = held.path
    again.close()


def test_mountinfo_names_namespaces() -> None:
    text = (
        "24 30 0:22 / /proc rw,relatime - proc proc rw\n"
        "610 27 0:4 net:[4026532177] /run/netns/blue\\040sky rw shared:5 - nsfs nsfs rw\n"
        "611 27 0:4 mnt:[4026532178] /run/other rw - nsfs nsfs rw\n"
        "612 27 0:4 net:[4026532179] /run/docker/netns/1-abc rw - nsfs nsfs rw\n"
    )
    assert parse_mountinfo(text) == [
        (4026532177, "/run/netns/blue sky"),
        (4026532179, "/run/docker/netns/1-abc"),
    ]


def test_which_notifications_matter() -> None:
    def neighbour(family: int, flags: int) -> bytes:
        return struct.pack("=B3xiHBB", family, 4, 2, flags, 0)

    assert parts_touched(16, b"") == LINKS
    assert parts_touched(21, b"") == ADDRESSES
    assert parts_touched(28, neighbour(7, 0x02)) == ENTRIES
    assert parts_touched(28, neighbour(7, 0x00)) == 0  # a bridge learned something
    assert parts_touched(29, neighbour(2, 0x02)) == 0  # ARP
    assert parts_touched(24, b"") == 0  # a route


def test_packet_sockets() -> None:
    text = (
        "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"
        "ffff888012345678 3      3    0003   4     1 0      0      4711\n"
        "ffff888012345679 3      3    0000   0     1 0      0      4712\n"
    )
    assert parse_packet_sockets(text) == [(4, 3), (0, 0)]


def test_a_namespace_is_found_by_its_name_as_soon_as_it_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process, by which it was seen first, may be elsewhere when something is set there."""
    here = Path("/proc/self/ns/net").stat().st_ino
    places = iter(["/proc/self/ns/net", "/run/netns/late", "/proc/1/ns/net"])
    monkeypatch.setattr(namespaces, "_find_all", lambda: {here: next(places)})
    with namespaces.Namespaces() as known:
        seen = []
        for _ in range(3):
            known.scan()
            seen += [held.found_at for held in known]
    assert seen == ["/proc/self/ns/net", "/run/netns/late", "/run/netns/late"]
