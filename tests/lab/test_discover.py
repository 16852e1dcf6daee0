"""``overspray discover``: what is found of overlays that the tests made, and of nobody else's.

Other overlays may be on the machine meanwhile: each test asks for its own namespaces alone.
"""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import WITHOUT_RIGHTS, overspray
from handmade import NIC_IP, OTHER_IP, Ground, add_nic, add_tunnel, handle
from pyroute2 import IPRoute

from bench import lab as labs
from bench.lab import Lab
from steering import bpf, chosen, discover, ipsec, links, namespaces, netns
from steering.bpf import Kind, Link, Program, returning
from steering.errors import BadInput
from steering.inventory import Forward, Inventory, Namespace, Overlay
from steering.inventory_text import as_text


@pytest.fixture
def ground(host_as_found: None) -> Iterator[Ground]:
    with ExitStack() as stack:
        yield Ground(stack)


def found_in(*names: str) -> list[Overlay]:
    """Of namespaces that the test made."""
    return [each for each in discover.discover().overlays if each.device.namespace.name in names]


def seen_from(name: str) -> Inventory:
    with netns.entered(name):
        return discover.discover()


def refused(name: str, device: str) -> str:
    with pytest.raises(BadInput) as said:
        chosen.choose(seen_from(name), device)
    return str(said.value)


@pytest.mark.parametrize(
    ("case", "count", "inner", "outer"),
    [
        ("flannel", 2, 4, 4),
        ("docker", 2, 4, 4),
        ("linux", 1, 4, 4),
        ("flannel", 1, 6, 6),
        ("docker", 1, 4, 6),
    ],
)
def test_the_labs_overlay_is_found_as_it_was_planned(case: str, count: int, inner: int, outer: int) -> None:
    with labs.lab(case, count, inner, outer) as lab:
        inventory = seen_from(lab.host_ns)
        nic = chosen.choose(inventory, lab.plan.nic)
        [overlay] = chosen.through(inventory, nic)
        plan, name = lab.plan, lab.names[lab.plan.overlay_role]
        assert (nic.namespace.name, nic.index, nic.mac) == (lab.host_ns, lab.nic_index, plan.nic_mac)
        assert (nic.mtu, nic.rx_queues, nic.active_rx_queues) == (plan.mtu, plan.queues, plan.queues)
        assert nic.addresses == (f"{plan.nic_ip}/{plan.prefix}",)
        assert overlay.nics == overlay.underlay == (nic,)
        device = overlay.device
        assert (device.namespace.name, device.name, device.mac) == (name, plan.tunnel, plan.tunnel_mac)
        assert (overlay.vni, overlay.port, overlay.local, overlay.bound) == (42, 4789, plan.nic_ip, True)
        assert (overlay.remotes, overlay.learning) == ((plan.wire_ip,), False)
        assert overlay.forwards == (Forward(plan.peer_mac, plan.wire_ip, permanent=True),)
        assert behind(overlay) == planned(lab)
        assert (overlay.bridge.name if overlay.bridge else "") == (plan.bridge if plan.has_containers else "")
        assert overlay.remarks == (() if plan.has_containers else (overlay.remarks[0],))


def planned(lab: Lab) -> list[tuple[object, ...]]:
    return [
        (each.veth, index, lab.names[each.role], each.mac, (f"{each.ip}/{lab.plan.inner_prefix}",), False)
        for each, index in zip(lab.plan.containers, lab.veth_indexes, strict=True)
    ]


def behind(overlay: Overlay) -> list[tuple[object, ...]]:
    peers = [(port, port.peer) for port in overlay.ports if port.peer and port.peer.name == "eth0"]
    assert len(peers) == len(overlay.ports)
    return [
        (port.name, port.index, peer.namespace.name, peer.mac, peer.addresses, peer.gro)
        for port, peer in peers
    ]


@pytest.mark.parametrize("told", ["local and device", "device", "nothing"])
def test_the_underlay_is_in_another_namespace_where_its_index_is_another_device(
    ground: Ground, told: str
) -> None:
    """As Docker has it, which tells the device nothing: then the routes to remote VTEPs say it."""
    host, overlay_ns = ground.host(), ground.make("overlay")
    with netns.entered(overlay_ns), IPRoute() as ip:
        ip.link("add", ifname="lower", kind="bridge")
        ip.link("add", ifname="br0", kind="bridge")
        bridge = socket.if_nametoindex("br0")
    with netns.entered(host), IPRoute() as ip, handle(netns.RUN / overlay_ns) as place:
        nic = socket.if_nametoindex("nic0")
        assert nic == bridge, "the same index twice"
        more = {"vxlan_link": nic} if told != "nothing" else {}
        more |= {"vxlan_local": NIC_IP} if "local" in told else {}
        name = {"ifname": "vxlan0", "kind": "vxlan", "vxlan_id": 42, "vxlan_port": 4789}
        ip.link("add", net_ns_fd=place, **name, **more)
    with netns.entered(overlay_ns), IPRoute() as ip:
        tunnel = socket.if_nametoindex("vxlan0")
        ip.link("set", index=tunnel, master=bridge)
        ip.fdb("add", ifindex=tunnel, lladdr="02:00:00:00:01:01", dst=OTHER_IP)
    inventory = seen_from(host)
    [overlay] = chosen.through(inventory, chosen.choose(inventory, "nic0"))
    assert (overlay.device.namespace.name, overlay.device.index) == (overlay_ns, tunnel)
    assert [(each.namespace.name, each.name) for each in overlay.nics] == [(host, "nic0")]
    assert overlay.underlay_namespace and overlay.underlay_namespace.name == host
    assert (overlay.local, overlay.bound) == (NIC_IP, "local" in told)
    assert overlay.bridge and overlay.bridge.name == "br0"


def test_overlays_of_one_port_are_told_apart_and_a_second_nics_left_out(ground: Ground) -> None:
    """Ports as people read them: 8472 is flannel's, and its bytes the other way round make 6177."""
    name = ground.host()
    with netns.entered(name), IPRoute() as ip:
        add_nic(ip, "nic1", "198.19.0.2")
        add_tunnel(ip, "ours", 1, 8472, vxlan_local=NIC_IP)
        add_tunnel(ip, "theirs", 16777215, 8472, vxlan_local=NIC_IP)
        add_tunnel(ip, "third", 4097, 4790, vxlan_local="198.19.0.2")
    inventory = seen_from(name)

    def through(nic: str) -> list[tuple[str, int, int]]:
        overlays = chosen.through(inventory, chosen.choose(inventory, nic))
        return [(each.device.name, each.vni, each.port) for each in overlays]

    assert through("nic0") == [("ours", 1, 8472), ("theirs", 16777215, 8472)]
    assert through("nic1") == [("third", 4097, 4790)]
    text = as_text(inventory, chosen.choose(inventory, "nic0"))
    assert "VNI 1, UDP port 8472: ours" in text and "VNI 16777215, UDP port 8472: theirs" in text
    assert "third" not in text


def test_many_containers_are_found_exactly(ground: Ground) -> None:
    name = ground.host()
    wanted = []
    with netns.entered(name), IPRoute() as ip:
        ip.link("add", ifname="br0", kind="bridge")
        bridge = socket.if_nametoindex("br0")
        ip.link("set", index=add_tunnel(ip, vxlan_local=NIC_IP), master=bridge)
        for at in range(30):
            container, mac = ground.make(f"c{at}"), f"02:00:00:00:02:{at:02x}"
            with handle(netns.RUN / container) as place:
                # The kernel lets the near end's wish decide how many of the far end's queues are active.
                queues = {"num_rx_queues": 3} if at % 2 else {}
                far = {"ifname": "eth0", "address": mac, "net_ns_fd": place, **queues}
                ip.link("add", ifname=f"veth{at}", kind="veth", master=bridge, peer=far, **queues)
            wanted.append((f"veth{at}", socket.if_nametoindex(f"veth{at}"), container, mac, (), False))
    [overlay] = found_in(name)
    assert behind(overlay) == wanted
    active = [port.peer.active_rx_queues for port in overlay.ports if port.peer]
    assert active == [1, 3] * 15, "as Docker makes them, or as many as were asked for"


def test_who_is_behind_which_vtep(ground: Ground) -> None:
    name = ground.host()
    with netns.entered(name), IPRoute() as ip:
        tunnel = add_tunnel(ip, vxlan_local=NIC_IP, vxlan_group="198.18.0.9")
        for last in (1, 2, 3):
            ip.fdb("add", ifindex=tunnel, lladdr=f"02:00:00:00:01:0{last}", dst=f"198.18.0.{10 * last}")
    [overlay] = found_in(name)
    assert overlay.remotes == ("198.18.0.9", "198.18.0.10", "198.18.0.20", "198.18.0.30")
    assert {each.mac: each.remote for each in overlay.forwards} == {
        "00:00:00:00:00:00": "198.18.0.9",
        **{f"02:00:00:00:01:0{last}": f"198.18.0.{10 * last}" for last in (1, 2, 3)},
    }
    assert overlay.learning
    assert "behind 198.18.0.9: all that is unknown" in as_text(discover.discover())


def test_what_lies_in_the_way_is_said(ground: Ground) -> None:
    name = ground.host()
    with netns.entered(name), IPRoute() as ip, ExitStack() as stack:
        for hook in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
            hook.write_text("1" if hook.name.endswith("-iptables") else "0")
        ip.link("add", ifname="br0", kind="bridge")
        tunnel = add_tunnel(ip, vxlan_local=NIC_IP)
        ip.link("set", index=tunnel, master=socket.if_nametoindex("br0"))
        before = remarks(name)
        assert [each for each in before if "tc on" in each or "XDP" in each] == []
        ip.tc("add", "clsact", tunnel)
        program = stack.enter_context(Program(returning(bpf.TCX_NEXT), Kind.TC))
        ip.tc("add-filter", "bpf", tunnel, ":1", fd=program.fd, name="f", parent="ffff:fff2", classid=1)
        stack.enter_context(Link(program.fd, tunnel, bpf.ATTACH_TCX_INGRESS))
        seen = stack.enter_context(Program(returning(bpf.XDP_PASS), Kind.XDP))
        stack.enter_context(Link(seen.fd, socket.if_nametoindex("nic0"), bpf.ATTACH_XDP, bpf.XDP_NATIVE))
        after = remarks(name)
    if Path("/proc/sys/net/bridge").exists():
        assert any("bridge netfilter is on (bridge-nf-call-iptables)" in each for each in before)
    assert any("no remote VTEP is known yet" in each for each in before)
    assert any(each.startswith("vxlan0, br0: down") for each in before)
    assert any("tc on vxlan0 (clsact, 1 filter, 1 tcx program on ingress)" in each for each in after)
    assert any("nic0 has an XDP program already (native)" in each for each in after), after


def remarks(name: str) -> tuple[str, ...]:
    [overlay] = found_in(name)
    return overlay.remarks


def test_ipsec_is_of_its_namespace(ground: Ground) -> None:
    """A policy, which unlike a state needs no cipher of the kernel's."""
    one, other = ground.make("one"), ground.make("other")
    whom = f"src {NIC_IP} dst {OTHER_IP}"
    line = f"ip xfrm policy add {whom} dir out tmpl {whom} proto esp mode transport"
    with netns.entered(one):
        assert ipsec.ends() == frozenset()
        subprocess.run(line.split(), check=True)
        assert ipsec.ends() == {NIC_IP, OTHER_IP}
    with netns.entered(other):
        assert ipsec.ends() == frozenset()


def test_a_namespace_that_vanishes_while_it_is_read_is_left_out(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One before it is looked into, one that by now is another, one between two looks."""
    stays, gone, other, going = (ground.host(role) for role in ("stays", "gone", "other", "going"))
    for name in (stays, going):
        with netns.entered(name), IPRoute() as ip:
            add_tunnel(ip, vxlan_local=NIC_IP)
    going_inode, find, read = netns.inode(going), namespaces.find, links.links

    def found() -> namespaces.Found:
        spaces = find()
        netns.remove(gone)
        netns.remove(other)
        netns.create(other)
        return spaces

    def looked() -> dict[int, Any]:
        answer = read()
        if namespaces.own() == going_inode:
            netns.remove(going)
        return answer

    monkeypatch.setattr(namespaces, "find", found)
    monkeypatch.setattr(links, "links", looked)
    with handle(netns.RUN / other):  # or the new one might get the old one's number
        inventory = discover.discover()
    names = {view.space.name for view in inventory.views.values() if ground.stem in view.space.name}
    assert names == {stays}
    assert [each.device.namespace.name for each in inventory.overlays if ground.stem in str(each.device)] == [
        stays
    ]


def test_a_device_that_is_no_nic_leads_to_the_one_to_name(ground: Ground) -> None:
    with labs.lab("flannel") as lab:
        name = lab.host_ns
        assert (
            refused(name, "vxlan0") == "'vxlan0' is a VXLAN device, not a NIC: type 'overspray discover nic0'"
        )
        assert refused(name, "br0") == "'br0' is a bridge, not a NIC: type 'overspray discover nic0'"
        told = "'veth0' is a port of the bridge 'br0', not a NIC: type 'overspray discover nic0'"
        assert refused(name, "veth0") == told
        assert refused(name, "nic7") == "unknown device 'nic7': choose from nic0"
        assert refused(name, "lo") == "'lo' has no overlay behind it: type 'overspray discover nic0'"
        [overlay] = found_in(name)
        [port] = overlay.ports
        assert port.peer and refused(port.peer.namespace.name, "eth0").startswith(
            "'eth0' has no overlay behind it:"
        )
    bare = ground.host()
    assert refused(bare, "nic0").startswith("'nic0' has no overlay behind it: ")


def test_the_command_prints_a_tree_and_json() -> None:
    with labs.lab("docker", 2) as lab, netns.entered(lab.host_ns):
        tree, as_json = overspray("discover", "nic0"), overspray("discover", "nic0", "--json")
        everything = overspray("discover", "--json")
        wrong = overspray("discover", "nic7")
    assert (tree.returncode, tree.stderr, as_json.returncode) == (0, "", 0)
    lines = tree.stdout.splitlines()
    assert lines[0].startswith("nic0: 198.18.0.2/24, 02:00:00:00:00:02, MTU 1600, ")
    assert lines[1].startswith(f"└─ VNI 42, UDP port 4789: vxlan0 of {lab.names['overlay']}, ")
    assert "   ├─ VTEP here 198.18.0.2; there 198.18.0.1" in lines
    assert lines[-1].startswith(
        f"      └─ veth1 to eth0 of {lab.names['c1']}: 10.77.1.2/16, 02:00:00:00:02:02, "
    )
    report = json.loads(as_json.stdout)
    assert report["namespace"]["name"] == lab.host_ns
    assert report["device"]["name"] == "nic0"
    [overlay] = report["overlays"]
    assert overlay["vni"] == 42 and len(overlay["ports"]) == 2
    space = overlay["device"]["namespace"]["inode"]
    found = [each["device"] for each in json.loads(everything.stdout)["overlays"]]
    assert [each["name"] for each in found if each["namespace"]["inode"] == space] == ["vxlan0"]
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "overspray: unknown device 'nic7': choose from nic0\n"


def test_without_rights_it_is_one_line() -> None:
    done = overspray("discover", before=WITHOUT_RIGHTS)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not possible here: capabilities" in done.stderr and done.stderr.count("\n") == 1


def test_a_name_is_no_terminal_sequence(ground: Ground) -> None:
    name = ground.host()
    with netns.entered(name):
        subprocess.run([b"ip", b"link", b"add", b"\x1b[31m\xff", b"type", b"bridge"], check=True)
        with IPRoute() as ip:
            [bridge] = [
                link["index"] for link in ip.get_links() if link.get(("linkinfo", "kind")) == "bridge"
            ]
            ip.link("set", index=add_tunnel(ip, vxlan_local=NIC_IP), master=bridge)
    [overlay] = found_in(name)
    assert overlay.bridge and overlay.bridge.name == "\x1b[31m\udcff"
    assert "bridge ?[31m?, 0 ports" in as_text(Inventory(Namespace(0, ""), {}, (overlay,)))
