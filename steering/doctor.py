"""What ``overspray doctor`` asks of this host: what it can do, what that is for, and how to get it."""

import errno
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyroute2.ethtool.ioctl import EthtoolError
from pyroute2.netlink.exceptions import NetlinkError

from steering import cores, headers, netns, trials
from steering.errors import OversprayError

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""Of linux/capability.h. CAP_SYS_ADMIN, without which no namespace is entered, contains CAP_BPF."""
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD
"""PROC_USER_INIT_INO of include/linux/proc_ns.h."""
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
_JIT = Path("/proc/sys/net/core/bpf_jit_enable")
_IPV6 = Path("/proc/sys/net/ipv6/conf")
_BTF = Path("/sys/kernel/btf/vmlinux")


@dataclass(frozen=True)
class Check:
    """One question: `ask` returns words for the table, or raises what stands in the way."""

    name: str
    ask: Callable[[], str]
    meaning: str
    fix: str
    needed: bool = True
    """Whether the main job cannot run without it."""
    tried: bool = False
    """Whether it is found by doing it, in a namespace of its own."""


@dataclass(frozen=True)
class Row:
    """The answer."""

    name: str
    ok: bool
    value: str
    meaning: str
    fix: str
    needed: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def examine(*names: str) -> list[Row]:
    """The rows of that name, or all of them, in the order of the table. Changes nothing."""
    for name in names:
        if name not in {check.name for check in _CHECKS}:
            raise KeyError(f"the doctor has no row '{name}'")
    return [_answer(check) for check in _CHECKS if not names or check.name in names]


def require(*names: str) -> None:
    """Raise the one line that says what is missing where this host can't do all of that."""
    for row in examine(*names):
        if not row.ok:
            raise OversprayError(f"not possible here: {row.name}: {row.value}: {row.fix}")


def _answer(check: Check) -> Row:
    try:
        if check.tried:
            with netns.nameless():
                found = check.ask()
        else:
            found = check.ask()
    except (OversprayError, EthtoolError, NetlinkError, OSError) as error:
        fix, value = check.fix, str(error)
        # The cause may be another one than what the check is about.
        if _number_of(error) in (errno.EPERM, errno.EACCES):
            fix, value = "type it again with sudo; root of a user namespace is not enough", "not permitted"
        elif _number_of(error) in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            fix = "raise 'ulimit -n', or free memory"
        return Row(check.name, False, value, check.meaning, fix, check.needed)
    return Row(check.name, True, found, check.meaning, check.fix, check.needed)


def _number_of(error: BaseException) -> int | None:
    """The kernel's errno behind an error, whatever it was turned into."""
    number = getattr(error, "errno", None) or getattr(error, "code", None)
    return number or (_number_of(error.__cause__) if error.__cause__ else None)


def _capabilities() -> str:
    status = Path("/proc/thread-self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    missing = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        raise OversprayError("without " + ", ".join(missing))
    if Path("/proc/thread-self/ns/user").stat().st_ino != _INITIAL_USER_NAMESPACE:
        raise OversprayError("of a user namespace only")
    return ", ".join(_CAPABILITIES)


def _lockdown() -> str:
    if not _LOCKDOWN.exists():
        return "none: this kernel has no lockdown, or shows none"
    mode = _LOCKDOWN.read_text().split("[")[1].split("]")[0]
    if mode == "confidentiality":
        raise OversprayError(mode)
    return mode


def _jit() -> str:
    if not _JIT.exists():
        return "not shown in this network namespace"
    value = _JIT.read_text().strip()
    if value not in ("1", "2"):
        raise OversprayError(f"off ({value})")
    return "on"


def _btf() -> str:
    if not _BTF.exists():
        raise OversprayError("not there")
    return str(_BTF)


def _headers() -> str:
    found = headers.find()
    return f"{found.build}{' (stand-in)' if found.stand_in else ''}"


def _cores() -> str:
    online, usable = cores.online(), cores.usable()
    found = f"online {cores.form(online)}, allowed {cores.form(usable) or 'none'}"
    if len(usable) < 2:
        raise OversprayError(found)
    return found


def _ipv6() -> str:
    if not _IPV6.exists():
        raise OversprayError("not there")
    return "there"


def _tool(command: str) -> Callable[[], str]:
    def ask() -> str:
        found = shutil.which(command)
        if not found:
            raise OversprayError("not there")
        return found

    return ask


def host() -> dict[str, Any]:
    """What a result must say of where it was made; nothing that identifies the machine."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "online": cores.online(),
        "allowed": cores.usable(),
    }


def _kernel(version: str) -> str:
    return f"boot Linux {version} or newer"


_CHECKS = (
    Check(
        "capabilities",
        _capabilities,
        "makes namespaces, loads BPF programs",
        "type it again with sudo",
    ),
    Check("cores", _cores, "spreading needs two", "give it a second core (taskset, cpuset)"),
    Check(
        "kernel headers",
        _headers,
        "bcc compiles against them; a stand-in of another version serves",
        f"type 'apt-get install {headers.package()}'",
    ),
    Check("BPF", trials.load, "everything here is made of it", _kernel("5.18"), tried=True),
    Check(
        "bcc",
        trials.compiler,
        "compiles and loads the programs",
        "type 'make setup', and use .venv/bin/overspray",
        tried=True,
    ),
    Check(
        "C compiler",
        _tool("cc"),
        "policies in user space: policy check, tests without root",
        "type 'apt-get install gcc libc6-dev'",
        needed=False,
    ),
    Check(
        "BPF JIT",
        _jit,
        "programs as machine code: interpreted, no figure means anything",
        "type 'sysctl net.core.bpf_jit_enable=1'",
        needed=False,
    ),
    Check(
        "BTF",
        _btf,
        "the kernel's types: why it drops a packet, and whose that was, is read by them",
        "boot a kernel with CONFIG_DEBUG_INFO_BTF",
        needed=False,
    ),
    Check(
        "lockdown",
        _lockdown,
        "in mode confidentiality BPF may not read the kernel's memory",
        "boot without lockdown=confidentiality",
        needed=False,
    ),
    Check(
        "devices",
        trials.devices,
        "the lab and the overlay are made of them",
        "type 'modprobe -a veth bridge vxlan'",
        tried=True,
    ),
    Check(
        "native XDP on veth",
        trials.native_xdp,
        "the NIC stage runs before the kernel makes an skb",
        _kernel("5.9"),
        tried=True,
    ),
    Check(
        "live frames",
        trials.live_frames,
        "the wire: it makes real frames inside the kernel",
        _kernel("5.18"),
        tried=True,
    ),
    Check(
        "cpumap programs",
        trials.cpumap_program,
        "the worker stage runs on the core that a frame was handed to",
        _kernel("5.9"),
        tried=True,
    ),
    Check(
        "tracepoints",
        trials.tracepoints,
        "what the kernel drops behind XDP, only they tell",
        "boot a kernel with CONFIG_TRACEPOINTS",
        tried=True,
    ),
    Check(
        "cpumap GRO",
        trials.cpumap_gro,
        "workers merge segments before the IP stack",
        _kernel("6.15"),
        needed=False,
        tried=True,
    ),
    Check(
        "tc links",
        trials.tc_link,
        "the delivery 'peer', into the container after GRO",
        _kernel("6.6"),
        needed=False,
        tried=True,
    ),
    Check(
        "IPv6",
        _ipv6,
        "inside the tunnel and outside, in the lab",
        "boot without ipv6.disable=1, or type 'modprobe ipv6'",
        needed=False,
        tried=True,
    ),
    Check(
        "RPS",
        trials.rps,
        "stock Linux's own steering, to compare with",
        "boot a kernel with CONFIG_RPS",
        needed=False,
        tried=True,
    ),
    Check(
        "RFS",
        trials.rfs,
        "stock steering to the reader's core",
        "boot a kernel with CONFIG_RPS",
        needed=False,
        tried=True,
    ),
    Check(
        "threaded NAPI",
        trials.threaded,
        "threads that poll the NIC, on chosen cores",
        _kernel("6.8"),
        needed=False,
        tried=True,
    ),
    Check(
        "NAPI deferral",
        trials.deferral,
        "a timer polls the NIC in place of interrupts",
        _kernel("5.8"),
        needed=False,
        tried=True,
    ),
    Check(
        "UDP forwarding",
        trials.udp_forward,
        "GRO of datagrams that go on to a container, into one packet",
        _kernel("5.12"),
        needed=False,
        tried=True,
    ),
    Check(
        "Docker",
        _tool("dockerd"),
        "a real container overlay to attach to",
        "type 'apt-get install docker.io'",
        needed=False,
    ),
    Check(
        "iperf3",
        _tool("iperf3"),
        "a real application as sender and receiver",
        "type 'apt-get install iperf3'",
        needed=False,
    ),
    Check(
        "sockperf",
        _tool("sockperf"),
        "a real application as a sink",
        "type 'apt-get install sockperf'",
        needed=False,
    ),
    Check(
        "tshark",
        _tool("tshark"),
        "make test-long checks the wire's frames with its dissector",
        "type 'apt-get install tshark'",
        needed=False,
    ),
    Check(
        "chromium",
        _tool("chromium"),
        "make test-long looks at the report's page with it",
        "type 'apt-get install chromium'",
        needed=False,
    ),
)
