"""Overlays that tests make by hand, in namespaces of their own."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from steering import netns

NIC_IP, OTHER_IP = "198.18.0.2", "198.18.0.1"


class Ground:
    """Namespaces that go with the test."""

    def __init__(self, stack: ExitStack) -> None:
        self.stem, self.stack = f"os-test{os.getpid()}", stack

    def make(self, role: str) -> str:
        name = f"{self.stem}-{role}"
        netns.create(name)
        self.stack.callback(netns.remove, name)
        return name

    def host(self, role: str = "host") -> str:
        """A namespace with a NIC, whose other end is there as well."""
        name = self.make(role)
        with netns.entered(name), IPRoute() as ip:
            add_nic(ip, "nic0", NIC_IP)
        return name


def add_nic(ip: IPRoute, name: str, address: str) -> int:
    ip.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}-far"})
    index = socket.if_nametoindex(name)
    ip.addr("add", index=index, address=address, prefixlen=24)
    for each in (index, socket.if_nametoindex(f"{name}-far")):
        ip.link("set", index=each, state="up")
    return index


def add_tunnel(ip: IPRoute, name: str = "vxlan0", vni: int = 42, port: int = 4789, **more: Any) -> int:
    ip.link("add", ifname=name, kind="vxlan", vxlan_id=vni, vxlan_port=port, **more)
    return socket.if_nametoindex(name)


@contextmanager
def handle(path: str | Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
