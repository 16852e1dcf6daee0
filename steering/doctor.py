"""What ``overspray doctor`` asks this host, from the general to the particular."""

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from steering import tracefs
from steering.capabilities import ATTACHING, lacking
from steering.errors import OversprayError
from steering.host import Probe, headers_package, kernel_headers, kernel_version
from steering.trial import trials

TRACEPOINTS = (
    "irq:softirq_entry",
    "irq:softirq_exit",
    "irq:softirq_raise",
    "napi:napi_poll",
    "sched:sched_switch",
    "skb:kfree_skb",
    "xdp:xdp_cpumap_enqueue",
    "xdp:xdp_cpumap_kthread",
    "xdp:xdp_devmap_xmit",
    "xdp:xdp_exception",
    "xdp:xdp_redirect_err",
)
_TOOLS = {
    "gcc": ("compiles policies for the twin and the tests", "gcc"),
    "clang": ("the tests' strict syntax pass over the BPF programs", "clang"),
    "iperf3": ("real TCP and UDP applications in the tests", "iperf3"),
    "tshark": ("the tests check the wire's packets with an independent dissector", "tshark"),
    "dockerd": ("the test against a real Swarm overlay", "docker.io"),
}


def examine() -> list[Probe]:
    """All probes, in the order of the table. Takes about a second; needs no root to answer."""
    passive = [capabilities(), kernel(), cores(), jit(), headers(), bcc(), *tracing()]
    return [*passive, *trials(), *settings(), *tools()]


def require() -> None:
    """Raise the one line that says what is missing when the main job cannot run here."""
    missing = [probe for probe in examine() if probe.needed and not probe.ok]
    if missing:
        first, more = missing[0], len(missing) - 1
        others = f" (and {more} more: 'overspray doctor' lists them)" if more else ""
        raise OversprayError(f"not possible here: {first.name}: {first.value}: {first.fix}{others}")


def capabilities() -> Probe:
    """Whether this process may load BPF and make namespaces and devices."""
    missing = lacking(ATTACHING)
    return Probe(
        "capabilities",
        not missing,
        "without " + ", ".join(missing) if missing else "all",
        "load BPF programs, enter namespaces, change devices",
        "type it again with sudo; to attach without root: docs/attach.md",
    )


def kernel() -> Probe:
    """The running kernel against the oldest one with live frames."""
    return Probe(
        "kernel",
        kernel_version() >= (5, 18),
        platform.release(),
        "at least 5.18: live frames stand for the wire",
        "boot a newer kernel",
    )


def cores() -> Probe:
    """Cores this process may use: spreading needs two."""
    count = len(os.sched_getaffinity(0))
    return Probe(
        "cores", count >= 2, str(count), "spreading needs two", "give the machine a second core"
    )


def jit() -> Probe:
    """Whether BPF programs are compiled to machine code."""
    setting = Path("/proc/sys/net/core/bpf_jit_enable")
    value = setting.read_text().strip() if setting.exists() else "not there"
    return Probe(
        "BPF JIT",
        value in ("1", "2"),
        value,
        "BPF as machine code: interpreted, no figure means anything",
        "type 'sysctl net.core.bpf_jit_enable=1'",
    )


def headers() -> Probe:
    """The headers bcc compiles against: the kernel's own, or a stand-in."""
    meaning = "bcc compiles against them; a stand-in of another version serves"
    fix = f"type 'apt-get install {headers_package()}'"
    try:
        found = kernel_headers()
    except OversprayError as error:
        return Probe("kernel headers", False, str(error), meaning, fix)
    own = platform.release() in str(found)
    return Probe("kernel headers", True, f"{found}{'' if own else ' (stand-in)'}", meaning, fix)


def bcc() -> Probe:
    """Whether this Python sees the distribution's bcc."""
    meaning = "compiles and loads the BPF programs"
    fix = "type 'apt-get install python3-bpfcc', and use the .venv that 'make setup' makes"
    try:
        import bcc as module
    except (ImportError, OSError) as error:
        return Probe("bcc", False, str(error), meaning, fix)
    return Probe("bcc", True, str(module.__version__), meaning, fix)


def tracing() -> list[Probe]:
    """tracefs, the tracepoints the collectors use, and what would be nice to have."""
    try:
        with tracefs.opened() as root:
            missing = [each for each in TRACEPOINTS if not _visible(_tracepoint(root, each))]
            kprobes = _visible(root / "kprobe_events")
            readable = _visible(root / "events")
            value = str(root) if root == tracefs.MOUNTED else "not mounted; opened when needed"
    except OversprayError as error:
        missing, kprobes, readable, value = list(TRACEPOINTS), False, False, str(error)
    btf = Path("/sys/kernel/btf/vmlinux").exists()
    return [
        Probe(
            "tracefs",
            readable,
            value,
            "tells the tracepoints, and the names of the kernel's reasons for drops",
            "type it again with sudo; without CONFIG_FTRACE there is none",
        ),
        Probe(
            "tracepoints",
            not missing,
            ", ".join(missing) + " not seen"
            if missing
            else f"all {len(TRACEPOINTS)} that are used",
            "softirqs, wake-ups and drops inside the kernel are counted there",
            "a kernel with CONFIG_FTRACE; without root they can't be seen",
        ),
        Probe(
            "kprobes",
            kprobes,
            "",
            "not used; profiles of single kernel functions would need them",
            "a kernel with CONFIG_KPROBE_EVENTS",
            needed=False,
        ),
        Probe(
            "BTF",
            btf,
            "/sys/kernel/btf/vmlinux" if btf else "",
            "the kernel's own types, for reading its structures on any version",
            "a kernel with CONFIG_DEBUG_INFO_BTF",
            needed=False,
        ),
    ]


def _visible(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # tracefs is closed to ordinary users
        return False


def _tracepoint(root: Path, name: str) -> Path:
    return root / "events" / name.replace(":", "/")


def settings() -> list[Probe]:
    """What stock Linux offers for comparison, and the kernel's GRO in cpumap."""

    def there(name: str, path: str, meaning: str, fix: str) -> Probe:
        found = Path(path).exists()
        return Probe(name, found, path if found else "", meaning, fix, needed=False)

    gro = kernel_version() >= (6, 15)
    return [
        Probe(
            "cpumap GRO",
            gro,
            f"by version: {'' if gro else 'not '}in {platform.release()}",
            "workers merge segments before the IP stack: TCP and gro-list variants gain by it",
            "kernel 6.15",
            needed=False,
        ),
        there(
            "RPS",
            "/sys/class/net/lo/queues/rx-0/rps_cpus",
            "stock steering: variants rps, rps-vxlan, rps-veth",
            "a kernel with CONFIG_RPS",
        ),
        there(
            "threaded NAPI",
            "/sys/class/net/lo/threaded",
            "stock coalescing: variant threaded",
            "kernel 5.12",
        ),
        there(
            "bridge netfilter",
            "/proc/sys/net/bridge/bridge-nf-call-iptables",
            "stock overlays often run with it: variant netfilter",
            "type 'modprobe br_netfilter'",
        ),
    ]


def tools(which: Callable[[str], str | None] = shutil.which) -> list[Probe]:
    """Programs that tests and examples use; the main job needs none of them."""
    return [
        Probe(
            name,
            which(name) is not None,
            which(name) or "",
            meaning,
            f"type 'apt-get install {package}'",
            needed=False,
        )
        for name, (meaning, package) in _TOOLS.items()
    ]
