"""What follows from what namespaces show: overlays, which NIC is meant, and how it is told."""

import json
import socket
import struct
from dataclasses import replace
from typing import Any

import pytest
from pyroute2.netlink import NLM_F_DUMP_INTR

from bench.cli import run
from steering import ipsec, namespaces
from steering.chosen import choose, through
from steering.errors import BadInput
from steering.inventory import (
    Forward,
    Inventory,
    Link,
    Namespace,
    Overlay,
    Route,
    View,
    Vxlan,
    below,
    elsewhere,
)
from steering.inventory_text import as_dict, as_text
from steering.namespaces import Found
from steering.overlays import join
from steering.rtnl import steady

HOST = Namespace(1, "/run/netns/host", "host")
OVERLAY = Namespace(2, "/run/docker/netns/1-abc")
INSIDE = Namespace(3, "/proc/77/ns/net", pid=77)
HERE, THERE = "192.0.2.1", "192.0.2.2"
LO = Link(1, "lo", loopback=True, mtu=65536, addresses=("127.0.0.1/8",))
NIC = Link(2, "eth1", mac="02:00:00:00:00:02", mtu=1500, rx_queues=8, active_rx_queues=4, gro=True)
NIC = replace(NIC, addresses=(f"{HERE}/24",))
TUNNEL = Link(2, "vxlan0", "vxlan", mac="02:00:00:00:01:02", mtu=1450, master=3, lower_nsid=0)
TOLD = Vxlan(4097, 8472, local=HERE, lower=2)
BRIDGE = Link(3, "br0", "bridge", mtu=1450)
PORT = Link(4, "veth0", "veth", mtu=1450, master=3, lower=9, lower_nsid=1)
ETH0 = Link(9, "eth0", "veth", mtu=1450, lower=4, lower_nsid=0, rx_queues=8)
ETH0 = replace(ETH0, active_rx_queues=1, gro=False, addresses=("10.0.0.3/24",))
FORWARDS = (Forward("02:00:00:00:01:01", THERE, permanent=True),)


def view(space: Namespace, *links: Link, **more: Any) -> View:
    return View(space, {each.index: each for each in links}, **more)


def docker(told: Vxlan = TOLD, host: View | None = None, **more: Any) -> Inventory:
    """Tunnel and bridge in a namespace of their own, a container in another; index 2 is in two of them."""
    views = [
        host or view(HOST, LO, NIC),
        view(
            OVERLAY,
            *(LO, replace(TUNNEL, vxlan=told), BRIDGE, PORT),
            **{"nsids": {0: 1, 1: 3}, "forwards": {2: FORWARDS}, **more},
        ),
        view(INSIDE, LO, ETH0, nsids={0: 2}),
    ]
    return inventory(*views)


def inventory(*views: View) -> Inventory:
    return Inventory(views[0].space, {each.space.inode: each for each in views}, join(views))


def flannel(*more: Link, told: Vxlan = TOLD) -> Inventory:
    """All in the host's namespace."""
    tunnel = Link(5, "flannel.1", "vxlan", mac="02:00:00:00:01:02", mtu=1450, vxlan=told)
    return inventory(view(HOST, LO, NIC, tunnel, *more, forwards={5: FORWARDS}))


def only(found: Inventory) -> Overlay:
    [overlay] = found.overlays
    return overlay


def test_a_tunnel_is_joined_with_what_is_before_and_behind_it() -> None:
    overlay = only(docker())
    assert (overlay.vni, overlay.port, overlay.local, overlay.bound) == (4097, 8472, HERE, True)
    assert (overlay.remotes, overlay.forwards) == ((THERE,), FORWARDS)
    assert overlay.underlay_namespace == HOST
    assert [each.name for each in overlay.nics] == ["eth1"]
    assert overlay.bridge and (overlay.bridge.namespace, overlay.bridge.name) == (OVERLAY, "br0")
    [port] = overlay.ports
    assert port.peer and (port.peer.namespace, port.peer.name, port.peer.index) == (INSIDE, "eth0", 9)
    assert overlay.remarks == ()


def test_a_number_is_a_namespace_only_to_the_one_that_gave_it() -> None:
    found = docker()
    views = found.views
    assert elsewhere(views, views[2], 0) == views[1]
    assert elsewhere(views, views[3], 0) == views[2]
    assert elsewhere(views, views[1], None) == views[1]
    assert elsewhere(views, views[1], 0) is None


@pytest.mark.parametrize(
    ("told", "routes", "names", "local"),
    [
        (TOLD, {}, ["eth1"], HERE),
        (replace(TOLD, lower=0), {THERE: Route(4, HERE)}, ["eth2"], HERE),
        (replace(TOLD, lower=0), {}, ["eth1"], HERE),
        (replace(TOLD, lower=0, local=""), {THERE: Route(2, "192.0.2.9")}, ["eth1"], "192.0.2.9"),
        (replace(TOLD, lower=0, local=""), {}, [], ""),
        (replace(TOLD, lower=7), {THERE: Route(1, HERE)}, [], HERE),
    ],
    ids=["told", "route", "address", "route alone", "nothing", "gone, and a route to itself"],
)
def test_the_underlay_is_what_the_device_was_told_else_the_route_else_the_address(
    told: Vxlan, routes: dict[str, Route], names: list[str], local: str
) -> None:
    host = view(HOST, LO, NIC, Link(4, "eth2"), routes=routes)
    overlay = only(docker(told, host))
    assert ([each.name for each in overlay.underlay], overlay.local) == (names, local)
    assert any("neither the device nor a route names a NIC" in each for each in overlay.remarks) == (
        not names
    )


def test_vteps_are_single_hosts_in_order() -> None:
    forwards = [Forward("00:00:00:00:00:00", each) for each in ("192.0.2.10", "192.0.2.9", "239.1.1.1", "")]
    found = docker(replace(TOLD, group="192.0.2.8"), forwards={2: tuple(forwards)})
    assert only(found).remotes == ("192.0.2.8", "192.0.2.9", "192.0.2.10")
    assert only(docker(replace(TOLD, group="239.1.1.1"), forwards={})).remotes == ()


def test_a_peer_that_is_another_device_by_now_is_none() -> None:
    for other in (replace(ETH0, lower=5), replace(ETH0, kind="bridge"), replace(ETH0, index=8)):
        views = docker().views
        found = inventory(views[1], views[2], view(INSIDE, LO, other))
        assert only(found).ports[0].peer is None
        assert any("the other end of veth0" in each for each in only(found).remarks)


STACKED = (
    Link(10, "eth2", "", master=13),
    Link(11, "vlan7", "vlan", lower=13),
    Link(12, "veth9", "veth", master=14),
    Link(13, "bond0", "bond"),
    Link(14, "lan0", "bridge"),
    Link(15, "eth3", "", master=14),
    Link(16, "mac0", "macvlan", lower=2, lower_nsid=4),
    Link(17, "loop0", "vlan", lower=17),
)


@pytest.mark.parametrize(
    ("index", "names"),
    [
        (2, ["eth1"]),
        (11, ["eth2"]),
        (13, ["eth2"]),
        (14, ["eth3"]),
        (16, ["mac0"]),
        (17, []),
        (1, []),
        (99, []),
    ],
    ids=["itself", "VLAN on a bond", "bond", "bridge", "in another namespace", "loop", "lo", "gone"],
)
def test_nics_below_a_device(index: int, names: list[str]) -> None:
    host = view(HOST, LO, NIC, *STACKED)
    assert [link.name for _, link in below({1: host}, host, index)] == names


def test_what_lies_in_the_way_is_said() -> None:
    def said(found: Inventory) -> str:
        return "\n".join(only(found).remarks)

    assert "bridge netfilter is on (bridge-nf-call-iptables)" in said(
        docker(netfilter=("bridge-nf-call-iptables",))
    )
    assert "tc on vxlan0 (clsact)" in said(docker(tc={2: ("clsact",)}))
    assert "no remote VTEP is known yet" in said(docker(forwards={}))
    assert "eth1: down, so that" in said(docker(host=view(HOST, replace(NIC, down=True))))
    assert "metadata says which VNI" in said(docker(replace(TOLD, external=True)))
    assert "out of reach: which NIC is not known" in said(docker(nsids={}))
    xdp, secret = replace(NIC, xdp="native"), frozenset({HERE, THERE})
    assert "eth1 has an XDP program already (native)" in said(docker(host=view(HOST, xdp)))
    assert f"IPsec states or policies for {THERE}:" in said(docker(host=view(HOST, NIC, ipsec=secret)))
    assert "IPsec" not in said(docker(host=view(HOST, NIC, ipsec=frozenset({HERE}))))
    assert "flannel.1 is on no bridge" in said(flannel())
    vlan = flannel(Link(6, "eth1.7", "vlan", lower=2), told=replace(TOLD, lower=6))
    assert "frames come in through the vlan device eth1.7 on eth1" in said(vlan)
    strict = docker().views
    links = [replace(BRIDGE, netfilter=True, vlan_filtering=True), Link(8, "tap0", "tun", master=3)]
    changed = replace(strict[2], links={**strict[2].links, **{each.index: each for each in links}})
    found = said(inventory(strict[1], changed, strict[3]))
    assert "(nf_call_iptables of br0)" in found and "br0 filters VLANs" in found
    assert "behind the bridge, but no veth: tap0 (tun)" in found


def test_overlays_come_in_through_their_nic() -> None:
    second = Link(6, "vxlan9", "vxlan", vxlan=Vxlan(9, 8472, lower=7))
    lost = Link(8, "vxlan8", "vxlan", vxlan=Vxlan(8, 8472))
    found = flannel(Link(7, "eth2"), second, lost)

    def names(nic: str) -> list[str]:
        return [each.device.name for each in through(found, choose(found, nic))]

    assert names("eth1") == ["vxlan8", "flannel.1"], "one that says nothing may come in anywhere"
    assert names("eth2") == ["vxlan8", "vxlan9"]


@pytest.mark.parametrize(
    ("found", "name", "message"),
    [
        (docker(), "eth9", "unknown device 'eth9': choose from eth1"),
        (docker(), "lo", "'lo' has no overlay behind it: type 'overspray discover eth1'"),
        (docker(), "vxlan0", "'vxlan0' is a VXLAN device, not a NIC: type 'overspray discover eth1'"),
        (docker(), "br0", "'br0' is a bridge, not a NIC: type 'overspray discover eth1'"),
        (flannel(Link(6, "eth1.7", "vlan", lower=2)), "eth1.7", "'eth1.7' is a VLAN device, not a NIC: type"),
        (
            flannel(Link(6, "bond0", "bond")),
            "bond0",
            "'bond0' is a bond of several devices, not a NIC: no NIC is",
        ),
        (flannel(Link(6, "eth2")), "eth2", "'eth2' has no overlay behind it: type 'overspray discover eth1'"),
        (flannel(Link(6, "eth2")), "vxlan7", "unknown device 'vxlan7': choose from eth1, eth2"),
        (inventory(view(HOST, LO)), "eth0", "unknown device 'eth0': this network namespace has no NIC: type"),
        (
            inventory(view(HOST, NIC)),
            "eth1",
            "'eth1' has no overlay behind it: this host has no VXLAN device",
        ),
    ],
)
def test_what_is_no_nic_of_an_overlay_is_refused_with_what_to_type(
    found: Inventory, name: str, message: str
) -> None:
    with pytest.raises(BadInput) as said:
        choose(found, name)
    assert str(said.value).startswith(message)
    assert said.value.exit_code == 2 and "\n" not in str(said.value)


def test_a_name_may_be_that_of_the_only_other_namespace_that_has_overlays_on_it() -> None:
    away = replace(docker(), own=INSIDE)
    assert choose(away, "eth1").namespace == HOST
    with pytest.raises(
        BadInput, match="'vxlan0' is a VXLAN device, not a NIC: type 'ip netns exec host overspray"
    ):
        choose(away, "vxlan0")
    twin = Namespace(4, "/run/netns/twin", "twin")
    views = [*away.views.values(), view(twin, NIC, replace(TUNNEL, index=5, lower_nsid=None, vxlan=TOLD))]
    with pytest.raises(
        BadInput, match=r"'eth1' is in several other .* discover eth1' with one of host, twin"
    ):
        choose(replace(inventory(*views), own=INSIDE), "eth1")


def test_the_tree() -> None:
    assert as_text(docker(tc={2: ("clsact",)})).splitlines() == [
        "eth1: 192.0.2.1/24, 02:00:00:00:00:02, MTU 1500, 4 of 8 rx queues, GRO on",
        "└─ VNI 4097, UDP port 8472: vxlan0 of docker/netns/1-abc, 02:00:00:00:01:02, MTU 1450",
        "   ├─ VTEP here 192.0.2.1; there 192.0.2.2",
        "   ├─ behind 192.0.2.2: 02:00:00:00:01:01",
        "   ├─ bridge br0, 1 port beside the tunnel",
        "   │  └─ veth0 to eth0 of process 77: 10.0.0.3/24, MTU 1450, 1 of 8 rx queues, GRO off",
        "   └─ note: tc on vxlan0 (clsact): packets past the tunnel device skip it",
    ]


def test_many_addresses_are_counted_and_lost_overlays_told() -> None:
    forwards = tuple(Forward(f"02:00:00:00:01:0{last}", THERE) for last in range(5))
    found = docker(replace(TOLD, lower=0, local="", learning=True), forwards={2: forwards})
    text = as_text(replace(found, remarks=("one is missing",)))
    assert text.startswith("through a NIC that is not known\n└─ VNI 4097")
    assert "behind 192.0.2.2: 5 MAC addresses" in text
    assert "VTEP here: any address; there 192.0.2.2, and learns more" in text
    assert text.endswith("note: one is missing")
    routed = docker(replace(TOLD, local=""), view(HOST, NIC, routes={THERE: Route(2, HERE)}))
    assert "VTEP here 192.0.2.1 by its routes, or any other address; there 192.0.2.2" in as_text(routed)
    assert as_text(replace(found, own=INSIDE)).splitlines()[1].startswith("└─ VNI 4097")
    assert as_text(replace(docker(), own=INSIDE)).startswith("eth1 of host: 192.0.2.1/24, ")
    assert as_text(inventory(view(HOST, LO))) == "No overlay was found in 1 network namespaces."


def test_json_has_all_of_it() -> None:
    found = docker()
    report = json.loads(json.dumps(as_dict(found, choose(found, "eth1"))))
    assert set(report) == {"namespace", "device", "overlays", "remarks"}
    assert report["namespace"] == {"inode": 1, "path": "/run/netns/host", "name": "host", "pid": None}
    assert report["device"]["name"] == "eth1" and report["device"]["addresses"] == [f"{HERE}/24"]
    [overlay] = report["overlays"]
    assert (overlay["vni"], overlay["port"], overlay["local"], overlay["remotes"]) == (
        4097,
        8472,
        HERE,
        [THERE],
    )
    assert overlay["forwards"] == [{"mac": "02:00:00:00:01:01", "remote": THERE, "permanent": True}]
    assert overlay["ports"][0]["peer"]["namespace"]["pid"] == 77
    assert as_dict(found)["device"] is None
    assert as_dict(found)["overlays"] == as_dict(found, choose(found, "eth1"))["overlays"]


@pytest.mark.parametrize(
    ("space", "label"),
    [
        (Namespace(5, "/run/netns/blue", "blue", 9), "blue"),
        (Namespace(5, "/run/docker/netns/1-x4s", "", 9), "docker/netns/1-x4s"),
        (Namespace(5, "/proc/12/root/run/docker/netns/1-x4s"), "docker/netns/1-x4s"),
        (Namespace(5, "/proc/12/ns/net", pid=12), "process 12"),
        (Namespace(5, "/proc/12/fd/7"), "net:[5]"),
        (Namespace(5, "/run/netns/\x1b[2J", "\x1b[2J"), "?[2J"),
    ],
)
def test_a_namespace_is_called_by_what_people_know_of_it(space: Namespace, label: str) -> None:
    assert str(space) == label


def test_a_name_is_the_best_way_in_and_a_process_is_kept() -> None:
    found = Found()
    found.add(5, "/run/docker/netns/1-x4s")
    found.add(5, "/run/netns/blue", "blue")
    found.add(5, "/proc/9/ns/net", pid=9)
    found.add(5, "/run/netns/green", "green")
    found.add(5, "/proc/12/ns/net", pid=12)
    assert found.spaces == {5: Namespace(5, "/run/netns/blue", "blue", 9)}


def test_namespaces_in_a_mount_table() -> None:
    table = (
        "24 1 0:22 / /proc rw,relatime - proc proc rw\n"
        "90 25 0:4 net:[4026532281] /run/netns/blue rw shared:9 - nsfs nsfs rw\n"
        "91 25 0:4 net:[4026532282] /run/a\\040b\\134c rw - nsfs nsfs rw\n"
        "92 25 0:4 mnt:[4026532283] /run/snapd/ns/lxd.mnt rw - nsfs nsfs rw\n"
        "torn\n"
    )
    assert list(namespaces.mounts(table)) == [(4026532281, "/run/netns/blue"), (4026532282, "/run/a b\\c")]


@pytest.mark.parametrize(
    ("family", "ends"), [(socket.AF_INET, (HERE, THERE)), (socket.AF_INET6, ("2001:db8::1", "2001:db8::2"))]
)
def test_both_ends_of_ipsec_states_and_policies(family: int, ends: tuple[str, str]) -> None:
    """Structs xfrm_usersa_info (selector, id, source, …, family) and xfrm_userpolicy_info (selector, …)."""
    to, source = (socket.inet_pton(family, each).ljust(16, b"\0") for each in ends)
    state = struct.pack("=56s16s8x16s116xH10x", b"", to, source, family)
    assert len(state) == 224
    assert tuple(ipsec.ends_of(0x10, state)) == ends
    bits = 32 if family == socket.AF_INET else 128
    policy = struct.pack("=16s16s8xH2B124x", to, source, family, bits, bits)
    assert len(policy) == 168
    assert tuple(ipsec.ends_of(0x13, policy)) == ends
    networks = struct.pack("=16s16s8xH2B124x", to, source, family, bits, 24)
    for kind, other in ((0x13, networks), (0x10, struct.pack("=212xH10x", 0)), (0x26, state)):
        assert tuple(ipsec.ends_of(kind, other)) == ()


def test_messages_of_netlink() -> None:
    two = struct.pack("=IHHII5s3x", 21, 0x10, 0, 1, 0, b"state") + struct.pack("=IHHII", 16, 3, 0, 1, 0)
    assert list(ipsec.messages(two)) == [(0x10, b"state"), (3, b"")]
    assert list(ipsec.messages(bytes(20))) == [], "a length of 0 is no endless loop"


def test_a_list_that_changed_while_it_was_told_is_asked_for_again() -> None:
    def answers(*flags: int) -> list[dict[str, dict[str, int]]]:
        return [{"header": {"flags": each, "type": 16}} for each in flags]

    told = iter([answers(2, 2 | NLM_F_DUMP_INTR), answers(2, 2)])
    assert steady(lambda: next(told)) == answers(2, 2)
    assert len(steady(lambda: answers(NLM_F_DUMP_INTR))) == 1, "what is there must do"


def test_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["discover", "--help"]) == 0
    assert "DEVICE" in capsys.readouterr().out
    assert run(["discover", "eth0", "eth1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
