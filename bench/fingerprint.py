"""What a host was like when it measured: enough to tell why two results differ.

Nothing that identifies it: no host name, no address, no path.
"""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_SYSCTLS = (
    "kernel/numa_balancing",
    "kernel/perf_event_paranoid",
    "net/bridge/bridge-nf-call-iptables",
    "net/core/bpf_jit_enable",
    "net/core/bpf_jit_harden",
    "net/core/busy_poll",
    "net/core/busy_read",
    "net/core/dev_weight",
    "net/core/flow_limit_cpu_bitmap",
    "net/core/gro_normal_batch",
    "net/core/netdev_budget",
    "net/core/netdev_budget_usecs",
    "net/core/netdev_max_backlog",
    "net/core/rmem_default",
    "net/core/rmem_max",
    "net/core/rps_sock_flow_entries",
    "net/ipv4/ip_early_demux",
    "net/ipv4/udp_early_demux",
    "net/ipv4/udp_mem",
)
_PACKAGES = ("overspray", "bcc", "numba", "numpy", "pydantic", "pyroute2", "scapy", "scipy")
_STAT_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


def fingerprint() -> dict[str, Any]:
    """Kernel, processor, settings, versions and load of this host, as plain values for JSON.

    ``cpu_seconds`` are totals since boot: the difference of two fingerprints is what happened in
    between, steal included.
    """
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": sorted(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in _cpuinfo("flags").split(),
        "clocksource": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "mitigations": _mitigations(),
        "sysctls": {name: _read(f"/proc/sys/{name}") for name in _SYSCTLS},
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "cpu_seconds": _cpu_seconds(),
    }


def steal_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    """Share of the cores' time that the hypervisor gave to others between two fingerprints."""
    try:
        spent = {
            kind: after["cpu_seconds"][kind] - before["cpu_seconds"][kind] for kind in _STAT_FIELDS
        }
    except (KeyError, TypeError):
        return None
    total = sum(spent.values())
    return spent["steal"] / total if total > 0 else None


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What is not the same in both, one line each; load and times are expected to differ."""
    found = []
    for key in sorted(set(before) | set(after) - {"load", "cpu_seconds"}):
        if key in ("load", "cpu_seconds"):
            continue
        one, other = before.get(key), after.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            nested = sorted(set(one) | set(other))
            found += [
                f"{key} {name}: {one.get(name)} became {other.get(name)}"
                for name in nested
                if one.get(name) != other.get(name)
            ]
        elif one != other:
            found.append(f"{key}: {one} became {other}")
    return found


def _read(path: str) -> str | None:
    try:
        return " ".join(Path(path).read_text().split())
    except OSError:
        return None


def _cpuinfo(key: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _cpu_model() -> str:
    return _cpuinfo("model name") or _cpuinfo("CPU part") or platform.processor() or "unknown"


def _mitigations() -> dict[str, str | None]:
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.name: _read(str(file)) for file in files}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of this source, with ``+`` behind it if files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12"]
    try:
        done = subprocess.run(
            [*command, "--exclude=*", "--dirty=+"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _cpu_seconds() -> dict[str, float]:
    ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    hertz = os.sysconf("SC_CLK_TCK")
    return {kind: int(value) / hertz for kind, value in zip(_STAT_FIELDS, ticks, strict=False)}
