"""What a host was like when it measured: enough to tell why two results differ.

Nothing that identifies it: no host name, no address, no path.
"""

import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from steering import cores

_SYSCTLS = (
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
    "net.core.dev_weight",
    "net.core.gro_normal_batch",
    "net.core.netdev_budget",
    "net.core.netdev_budget_usecs",
    "net.core.netdev_max_backlog",
    "net.core.rmem_default",
    "net.core.rps_sock_flow_entries",
    "net.ipv4.udp_early_demux",
)
_SET_BY_RUNS = "net.core.rps_sock_flow_entries"
"""RFS is a variant: whoever measures it has changed this meanwhile."""
_PACKAGES = ("overspray", "bcc", "numpy", "pyroute2")
_HOST = ("kernel", "machine", "cpu", "cores")
"""What results depend on, beside sysctls."""
_TIMES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The first columns of /proc/stat (proc(5))."""


def fingerprint() -> dict[str, Any]:
    """Kernel, processor, settings, versions and load of this host, as plain values for JSON.

    ``cpu_seconds`` are totals since boot, of all cores: see `steal_between`. What cannot be read is None.
    """
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": _cpuinfo("model name") or _cpuinfo("CPU part") or None,
        "virtual": "hypervisor" in _cpuinfo("flags").split(),
        "cores": cores.usable(),
        "sysctls": {name: _read(f"/proc/sys/{name.replace('.', '/')}") for name in _SYSCTLS},
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "cpu_seconds": cpu_seconds(Path("/proc/stat").read_text()),
    }


def cpu_seconds(stat: str) -> dict[str, float]:
    """What all cores did since boot, in seconds by kind, of the text of /proc/stat."""
    ticks = stat.partition("\n")[0].split()[1:]
    hertz = os.sysconf("SC_CLK_TCK")
    return {kind: int(value) / hertz for kind, value in zip(_TIMES, ticks, strict=False)}


def steal_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    """Share (0 to 1) of the cores' time that the hypervisor gave to others between two fingerprints.

    None where they do not tell.
    """
    try:
        spent = {kind: after["cpu_seconds"][kind] - before["cpu_seconds"][kind] for kind in _TIMES}
    except (KeyError, TypeError):
        return None
    total = sum(spent.values())
    return float(spent["steal"] / total) if total > 0 else None


def unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """In what two hosts differ so that their results must not be mixed: ``kernel: 6.1, 6.18``; empty: alike.

    What only one of the two tells is no difference, nor is what every run sets for itself.
    """
    sides = [{**{name: each.get(name) for name in _HOST}, **(each.get("sysctls") or {})} for each in (a, b)]
    return [
        f"{name}: {sides[0][name]}, {sides[1][name]}"
        for name in sides[0]
        if name != _SET_BY_RUNS
        and None not in (sides[0][name], sides[1].get(name))
        and sides[0][name] != sides[1][name]
    ]


def _read(path: str) -> str | None:
    with suppress(OSError):
        return " ".join(Path(path).read_text().split())
    return None


def _cpuinfo(key: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _version(package: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(package)
    return None


def _commit() -> str | None:
    """Commit of this source, with ``+`` behind it where tracked files differ; None where git can't tell."""
    command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent)]
    command += ["status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    commit = next((line.split()[2][:12] for line in lines if line.startswith("# branch.oid ")), None)
    changed = any(not line.startswith("#") for line in lines)
    return commit and commit + "+" * changed
