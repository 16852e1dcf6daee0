"""Faults of the host: what an administrator, an engine or the hardware does to a lab."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from fault import Fault, Scene
from pyroute2 import IPRoute

from bench import lab_build
from bench.lab_plan import Lab
from bench.traffic import Traffic, frames
from bench.wire import words
from steering import bpf, netns
from steering.bpf import returning
from steering.layout import header
from steering.overlay.view import AF_BRIDGE

_ONLINE = Path("/sys/devices/system/cpu/cpu1/online")
_OTHER_VTEP = "198.18.0.3"
_MASTER, _STATIC, _PERMANENT, _SELF = 0x04, 0x40, 0x80, 0x02


@contextlib.contextmanager
def device(ns: str | None, name: str) -> Iterator[tuple[IPRoute, int]]:
    """Netlink inside a namespace, and a device's number there."""
    with netns.entered(ns), IPRoute() as route:
        yield route, int(route.link_lookup(ifname=name)[0])


def set_link(ns: str | None, name: str, **attributes: object) -> None:
    """Set what netlink keeps of a device."""
    with device(ns, name) as (route, index):
        route.link("set", index=index, **attributes)


def remove(ns: str | None, name: str) -> None:
    """Delete a device."""
    with device(ns, name) as (route, index):
        route.link("del", index=index)


class CoreOffline(Fault):
    name = "core"
    done = "the worker's core taken offline, and back"
    says = r"not bound any more: the worker of core 1"
    fresh = True  # a worker's thread is not bound to its core again

    def why_not(self) -> str:
        return "" if _ONLINE.exists() else "take a core offline"

    def act(self, scene: Scene) -> None:
        _ONLINE.write_text("0")
        try:
            scene.hold()
        finally:
            _ONLINE.write_text("1")
        told(scene, self.says)


class NamespaceDeleted(Fault):
    name = "namespace"
    done = "a container's namespace deleted; made again"
    says = r"no more: .*02:05:03:00:00:03"
    flows = 3  # the third flow's packets have no socket, so that nothing holds the namespace

    def act(self, scene: Scene) -> None:
        end = scene.lab.endpoints[2]
        with contextlib.suppress(OSError):
            netns.remove(end.netns)
        gone = lambda: end.host_device not in lab_build.devices_of(end.host_netns)  # noqa: E731
        if not scene.until(gone, 5):  # somebody else holds it: then its devices go as with Docker
            remove(end.host_netns, end.host_device)
        scene.hold()
        lab_build.make_namespace(scene.lab.spec, end.netns)
        lab_build.make_container(scene.lab, end)
        lab_build.settle(scene.lab)


class VethFlapped(Fault):
    name = "veth"
    done = "a container's veth taken down, and up"
    says = r"no more: .*02:05:03:00:00:02"
    interrupted = frozenset({1})

    def act(self, scene: Scene) -> None:
        end = scene.lab.endpoints[1]
        set_link(end.host_netns, end.host_device, state="down")
        told(scene, self.says)
        set_link(end.host_netns, end.host_device, state="up")
        lab_build.settle(scene.lab)


class MtuChanged(Fault):
    name = "mtu"
    done = "the MTU of NIC, tunnel, bridge or veth changed, and back"

    def act(self, scene: Scene) -> None:
        lab, end = scene.lab, scene.lab.endpoints[1]
        ns, name = scene.chance.choice(
            [
                (lab.host_ns, lab.nic),
                (lab.tunnel_ns, lab.tunnel),
                (lab.tunnel_ns, lab.bridge),
                (end.host_netns, end.host_device),
                (end.netns, end.device),
            ]
        )
        with device(ns, name) as (route, index):
            before = route.get_links(index)[0].get_attr("IFLA_MTU")
        set_link(ns, name, mtu=scene.chance.randrange(600, before))
        try:
            scene.hold()
        finally:
            set_link(ns, name, mtu=before)


class TunnelRecreated(Fault):
    name = "vxlan"
    done = "the VXLAN device deleted, and made again"
    says = r"no more: tunnel VNI 42"
    interrupted = frozenset({0, 1})

    def act(self, scene: Scene) -> None:
        lab = scene.lab
        remove(lab.tunnel_ns, lab.tunnel)
        told(scene, self.says)
        lab_build.make_tunnel(lab)
        lab_build.join_tunnel(lab)
        lab_build.settle(lab)


class BridgeRecreated(Fault):
    name = "bridge"
    done = "the bridge deleted, and made again"
    says = r"no more: .*02:05:03:00:00:01"
    interrupted = frozenset({0, 1})

    def act(self, scene: Scene) -> None:
        lab = scene.lab
        remove(lab.tunnel_ns, lab.bridge)
        told(scene, self.says)
        lab_build.make_bridge(lab)
        lab_build.join_tunnel(lab)
        for end in lab.endpoints:
            lab_build.join_bridge(lab, end)
        lab_build.settle(lab)


class ContainerMoved(Fault):
    name = "moved"
    done = "a container moved to another host (its MAC behind another VTEP), and back"
    says = r"no more: .*02:05:03:00:00:02"
    interrupted = frozenset({1})

    def act(self, scene: Scene) -> None:
        lab, end = scene.lab, scene.lab.endpoints[1]
        set_link(end.host_netns, end.host_device, master=0)
        with device(lab.tunnel_ns, lab.tunnel) as (route, index):
            route.fdb("append", ifindex=index, lladdr=end.mac, dst=_OTHER_VTEP, state=_PERMANENT)
            route.fdb("replace", ifindex=index, lladdr=end.mac, flags=_MASTER, state=_STATIC)
        told(scene, self.says)
        with device(lab.tunnel_ns, lab.tunnel) as (route, index):
            route.fdb("del", ifindex=index, lladdr=end.mac, flags=_SELF, dst=_OTHER_VTEP)
            route.fdb("del", ifindex=index, lladdr=end.mac, flags=_MASTER)
        lab_build.join_bridge(lab, end)
        lab_build.settle(lab)


class SenderMoved(Fault):
    name = "sender"
    done = "the other side's container moved to another host (another VTEP), and back"
    says = rf"now also from {_OTHER_VTEP}"

    def act(self, scene: Scene) -> None:
        lab, wire = scene.lab, scene.stage.wire
        there = replace(lab, remote_vtep_ip=_OTHER_VTEP)
        for before, after in ((lab, there), (there, lab)):
            wire.stop()
            mac = lab.endpoints[0].peer_mac
            with device(lab.tunnel_ns, lab.tunnel) as (route, index):
                route.fdb("del", ifindex=index, lladdr=mac, flags=_SELF, dst=before.remote_vtep_ip)
                route.fdb(
                    "append", ifindex=index, lladdr=mac, dst=after.remote_vtep_ip, state=_PERMANENT
                )
            _send_from(scene, after)
            wire.start()
            if after is there:
                told(scene, self.says)


class EntriesAged(Fault):
    name = "fdb"
    done = "forwarding entries aged out (bridge and VXLAN), and learned again"
    says = r"no more from 198\.18\.0\.1"

    def act(self, scene: Scene) -> None:
        lab, end = scene.lab, scene.lab.endpoints[0]
        with device(lab.tunnel_ns, lab.tunnel) as (route, index):
            entries = route.get_neighbours(family=AF_BRIDGE, ifindex=index)
            there = [each for each in entries if each.get_attr("NDA_DST") == lab.remote_vtep_ip]
            macs = [each.get_attr("NDA_LLADDR") for each in there if each["state"] & _PERMANENT]
            for mac in macs:
                route.fdb("del", ifindex=index, lladdr=mac, flags=_SELF, dst=lab.remote_vtep_ip)
            route.fdb("del", ifindex=index, lladdr=end.peer_mac, flags=_MASTER)
        told(scene, self.says)
        with device(lab.tunnel_ns, lab.tunnel) as (route, index):
            for mac in macs:
                behind = {"dst": lab.remote_vtep_ip, "state": _PERMANENT}
                route.fdb("append", ifindex=index, lladdr=mac, **behind)
            route.fdb("replace", ifindex=index, lladdr=end.peer_mac, flags=_MASTER, state=_STATIC)


class SecondProgram(Fault):
    name = "program"
    done = "somebody else's XDP program comes to the device, at any moment"
    says = r"an XDP program already|another XDP program|Device or resource busy"
    attached = False
    ends = None

    def act(self, scene: Scene) -> None:
        program = bpf.prog_load(returning(2), bpf.PROG_TYPE_XDP)
        with device(scene.lab.host_ns, scene.lab.nic) as (_, index):
            try:
                link = bpf.link_create(program, index, bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE)
            except bpf.BpfError as error:
                os.close(program)
                scene.said.append(f"the other's: {error}")
                return
        try:
            scene.until(lambda: not scene.process.is_alive(), 1)
        finally:
            os.close(link)
            os.close(program)


def told(scene: Scene, pattern: str) -> None:
    """Wait until the controller has noticed, then a little longer."""
    scene.until(lambda: bool(re.search(pattern, scene.words())), 10)
    scene.hold(0.1)


def _send_from(scene: Scene, lab: Lab) -> None:
    """What the wire sends from now on comes from that lab's VTEP."""
    module, dtype = scene.stage.wire._now, header("wire.h").struct("wire_flow")
    made = frames(lab, Traffic(flows=scene.fault.flows), 1)
    for place, frame in enumerate(made):
        flow = np.array(module.get("wire_flows", dtype, place))
        flow["words"] = words(frame.data[: frame.header_bytes], flow["words"].size)
        module.put("wire_flows", place, flow)
