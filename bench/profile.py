"""Where the receive path spends its time: kernel stacks sampled by the cores' clocks, folded into stages.

By time alone, for there are no hardware counters here: what a stage waits for, memory or another core, is not
told apart.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from bench.bed import Bed
from bench.run import Sample, measured
from bench.symbols import running
from bench.variant import Variant
from steering import bpf, cores
from steering.bpf import Kind
from steering.compile import Module
from steering.layout import header

FREQUENCY = 4999
"""Samples a second and core; prime, so as to beat with nothing."""
STAGES: Mapping[str, str] = {
    "idle": r"pv_native_safe_halt|default_idle|cpu_idle|do_idle|cpuidle",
    "wire": r"bpf_prog_\w+_wire\b|xdp_test_run_batch|bpf_test_run_xdp_live",
    "NIC's frames": r"veth_poll|veth_xdp_rcv\b|veth_xdp_rcv_one|veth_xdp_xmit|veth_ndo_xdp",
    "NIC stage": r"bpf_prog_\w+_(steer|pass)\b",
    "handoff": r"cpu_map_enqueue|bq_enqueue|bq_flush|cpu_map_\w*flush|__cpu_map\w*",
    "worker's frames": r"cpu_map_kthread_run|cpu_map_bpf_prog_run|bpf_prog_\w+_deliver\b",
    "skb": r"xdp_build_skb|build_skb|napi_skb_cache|veth_xdp_rcv_bulk_skb|kmem_cache_alloc_bulk",
    "GRO": r"gro_receive|dev_gro|__napi_gro|gro_complete|__gro_flush|skb_gro",
    "tc, IP": r"netif_receive_skb|ip_rcv|ip_local|ip_list_rcv|process_backlog|net_rx_action",
    "VXLAN, UDP": r"vxlan_rcv|udp_rcv|udp_queue|__udp4_lib|gro_cell",
    "bridge": r"\bbr_",
    "veth": r"veth_xmit|__dev_forward|dev_forward_skb",
    "delivery": r"bpf_prog_\w+_(peer|peer_next)\b|skb_do_redirect",
    "sink": r"bpf_prog_\w+_sink\b|sk_filter_trim_cap",
    "free": r"skb_release|kfree_skb|sk_skb_reason_drop|napi_consume|page_pool_put|napi_pp_put",
    "reading": r"recvmmsg|udp_recvmsg|__skb_recv_udp|_copy_to_iter|sock_recvmsg",
    "switch": r"schedule\b|__schedule|finish_task_switch|schedule_timeout",
}
"""Name of a stage -> its functions. A sample belongs to the stage of the innermost one that is in any."""

_PATTERNS = {name: re.compile(pattern) for name, pattern in STAGES.items()}
_SOFTWARE, _CPU_CLOCK = 1, 0
"""perf_event_open(2): PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK."""


@dataclass(frozen=True)
class Profile:
    """One variant's: ns of each core for a delivered packet, by stage, the largest first."""

    variant: str
    rate: float
    samples: dict[int, int]
    stages: dict[int, dict[str, float]]


def profile(bed: Bed, variant: Variant, seconds: float) -> Profile:
    """Sample one run at its traffic's rate. Raises OversprayError where the kernel does not let us."""
    with bed.in_effect(variant) as effect, ExitStack() as stack:
        module = stack.enter_context(Module("profile.bpf.c"))
        with _sampling(module):
            sample = measured(bed, variant, effect, seconds, 0.2, 0)
        return _folded(variant, sample, _stacks(module))


@contextmanager
def _sampling(module: Module) -> Iterator[None]:
    from bcc.libbcc import lib

    program = module.load("sample", Kind.PERF_EVENT)
    opened = []
    try:
        for core in cores.online():
            fd = lib.bpf_attach_perf_event(program, _SOFTWARE, _CPU_CLOCK, 0, FREQUENCY, -1, core, -1)
            if fd < 0:
                raise bpf.BpfError(f"sample core {core}", -fd)
            opened.append(fd)
        yield
    finally:
        for fd in opened:
            lib.bpf_close_perf_event_fd(fd)


def _stacks(module: Module) -> list[tuple[dict[int, int], list[int]]]:
    """Each stack that was seen: how often on each core, and its addresses, the innermost first."""
    samples, stacks = module.map("profile_samples"), module.map("profile_stacks")
    dtype, found = header("profile.h").struct("profile_stack"), []
    for number in range(header("profile.h").constants["PROFILE_STACKS"]):
        counts = samples.get(np.dtype("<u8"), number)
        if counts.any():
            addresses = stacks.get(dtype, number)["address"]
            by_core = {core: int(count) for core, count in enumerate(counts) if count}
            found.append((by_core, [int(address) for address in addresses if address]))
    return found


def _folded(variant: Variant, sample: Sample, stacks: list[tuple[dict[int, int], list[int]]]) -> Profile:
    symbols = running()
    counts: dict[int, Counter[str]] = {core: Counter() for core in cores.online()}
    for by_core, addresses in stacks:
        functions = [symbols.of(address) for address in addresses]
        for core, count in by_core.items():
            counts[core][stage(functions)] += count
    # A sample stands for the time to the next one; all of the run's, over all of its packets.
    ns = 1e9 / FREQUENCY / max(1, sample.delivered)
    stages = {core: {name: n * ns for name, n in found.most_common()} for core, found in counts.items()}
    return Profile(
        str(variant), sample.rate, {core: sum(found.values()) for core, found in counts.items()}, stages
    )


def stage(functions: Sequence[str]) -> str:
    """The stage of a stack, the innermost function first; or ``other``."""
    for function in functions:
        for name, pattern in _PATTERNS.items():
            if pattern.search(function):
                return name
    return "other"
