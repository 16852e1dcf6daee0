"""Namespaces that have no name: whatever holds them, what is in them is found."""

import os
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import DYING_WITH_US
from handmade import NIC_IP, add_nic, add_tunnel, handle
from pyroute2 import IPRoute

from steering import discover, namespaces, netns


def by_a_process(stack: ExitStack, folder: Path) -> str:
    line = [*DYING_WITH_US, "unshare", "--net", "sh", "-c", "echo ready; read line"]
    process = talking(stack, line)
    return f"/proc/{process.pid}/ns/net"


def by_a_file(stack: ExitStack, folder: Path) -> str:
    file = folder / "held here"
    file.touch()
    subprocess.run(["unshare", f"--net={file}", "true"], check=True)
    stack.callback(subprocess.run, ["umount", str(file)], check=True)
    return str(file)


def by_a_file_in_another_mount_namespace(stack: ExitStack, folder: Path) -> str:
    """As a container engine in a container has its overlays."""
    file = folder / "held there"
    file.touch()
    line = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'unshare "--net=$1" true; echo ready; read line',
        "sh",
        str(file),
    ]
    process = talking(stack, [*DYING_WITH_US, *line])
    return f"/proc/{process.pid}/root{file}"


def by_a_descriptor(stack: ExitStack, folder: Path) -> str:
    with netns.nameless():
        return f"/proc/self/fd/{stack.enter_context(handle('/proc/thread-self/ns/net'))}"


def talking(stack: ExitStack, line: list[str]) -> "subprocess.Popen[bytes]":
    """A process that has said that it is ready, and ends with its input."""
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stack.enter_context(process)
    assert process.stdin and process.stdout and process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize(
    "held", [by_a_process, by_a_file, by_a_file_in_another_mount_namespace, by_a_descriptor]
)
def test_namespaces_without_a_name_are_found(
    held: Callable[[ExitStack, Path], str], host_as_found: None, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        path = held(stack, tmp_path)
        inode = Path(path).stat().st_ino
        with handle(path) as place, netns.inside(place), IPRoute() as ip:
            add_nic(ip, "nic0", NIC_IP)
            add_tunnel(ip, vxlan_local=NIC_IP)
        found = [each for each in discover.discover().overlays if each.device.namespace.inode == inode]
        [overlay] = found
        assert (overlay.device.name, overlay.nics[0].name) == ("vxlan0", "nic0")
        space = overlay.device.namespace
        assert not space.name and str(space)
        with namespaces.opened(space) as place:
            assert os.fstat(place).st_ino == inode


def test_the_way_leads_through_the_oldest_process_whatever_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Numbers are used again: the lowest may be of one that has just begun, and is gone at once."""
    ready = ["sh", "-c", "echo ready; read line"]
    with ExitStack() as stack:
        lower = talking(stack, [*DYING_WITH_US, "unshare", "--net", *ready]).pid
        path = f"/proc/{lower}/ns/net"
        older = talking(stack, [*DYING_WITH_US, "nsenter", f"--net={path}", *ready]).pid
        start_of = namespaces.start_of
        monkeypatch.setattr(namespaces, "start_of", lambda pid: 0 if pid == older else start_of(pid))
        found = namespaces.find().spaces[Path(path).stat().st_ino]
        assert (found.pid, found.path) == (older, f"/proc/{older}/ns/net")
