"""Stages of the receive path: which functions belong to which, and profiles folded into them.

A sample belongs to the stage of the innermost function on its stack that names one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

FREQUENCY = 4999
"""Samples a second and core; prime, so as to beat with nothing."""
STAGES: Mapping[str, str] = {
    "idle": r"pv_native_safe_halt|default_idle|cpu_idle|do_idle|cpuidle",
    "wire": r"bpf_prog_\w+_(wire|wire_tcp|acks)\b|xdp_test_run_batch|bpf_test_run_xdp_live",
    "NIC's frames": r"veth_poll|veth_xdp_rcv\b|veth_xdp_rcv_one|veth_xdp_xmit|veth_ndo_xdp",
    "veth's copy for XDP": r"veth_convert_skb_to_xdp_buff|skb_pp_cow_data",
    "NIC stage": r"bpf_prog_\w+_(steer|deliver)\b",
    "handoff": r"cpu_map_enqueue|bq_enqueue|bq_flush|cpu_map_\w*flush|__cpu_map\w*",
    "worker: frames": r"cpu_map_kthread_run|cpu_map_bpf_prog_run",
    "skb": r"xdp_build_skb|build_skb|napi_skb_cache|veth_xdp_rcv_bulk_skb|kmem_cache_alloc_bulk",
    "GRO": r"gro_receive|dev_gro|__napi_gro|gro_complete|__gro_flush|skb_gro",
    "stack: tc, IP": r"__netif_receive_skb|netif_receive_skb|ip_rcv|ip6_rcv|ip_local|ip6_input"
    r"|ip_list_rcv|ipv6_list|process_backlog|net_rx_action",
    "VXLAN, UDP": r"vxlan_rcv|udp_rcv|udp_queue|__udp4_lib|gro_cell|udpv6_",
    "bridge": r"\bbr_",
    "veth": r"veth_xmit|__dev_forward|dev_forward_skb",
    "delivery": r"bpf_prog_\w+_(peer|tail|out_of)\b|skb_do_redirect",
    "TCP": r"tcp_v4_rcv|tcp_v6_rcv|tcp_rcv_established|tcp_data_queue|tcp_v4_do_rcv",
    "wake-up": r"sock_def_readable|try_to_wake_up|ttwu",
    "ACKs": r"tcp_send_ack|__tcp_send_ack|tcp_transmit_skb|bpf_prog_\w+_back\b",
    "read": r"tcp_recvmsg|sock_recvmsg|__sys_recv|udp_recvmsg",
    "copy": r"copy_to_iter|skb_copy_datagram|_copy_to_user|copyout|rep_movs",
    "free": r"skb_release|kfree_skb|napi_consume|page_pool_put|napi_pp_put|skb_attempt_defer",
    "switch": r"schedule\b|__schedule|finish_task_switch|schedule_timeout",
}
"""From the outermost to the innermost; the name to a pattern of functions."""

_PATTERNS = {name: re.compile(pattern) for name, pattern in STAGES.items()}
_HEAD = re.compile(r"^\s*\[(\d+)\]")


@dataclass(frozen=True)
class Profile:
    """One variant's: samples by core and stage, and about how much was delivered meanwhile."""

    variant: str
    seconds: float
    delivered: int
    samples: Mapping[int, Mapping[str, int]]

    def named(self, variant: str) -> "Profile":
        """The same under the name by which the variant was asked for."""
        return replace(self, variant=variant)

    def per_packet(self) -> dict[int, dict[str, float]]:
        """ns of each core for a delivered packet, by stage; the busiest first.

        A sample stands for the time to the next one; a core that idles may have none.
        """
        ns = 1e9 / FREQUENCY / max(1, self.delivered)
        return {
            core: {name: count * ns for name, count in Counter(stages).most_common()}
            for core, stages in self.samples.items()
        }


def stacks(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The samples of ``perf script -F cpu,ip,sym``: core, and functions, the innermost first."""
    core, frames = -1, list[str]()
    for line in [*lines, ""]:
        if head := _HEAD.match(line):
            core, frames = int(head[1]), []
        elif line.strip():
            frames.append(line.split(maxsplit=1)[-1].strip())
        elif frames:
            yield core, frames
            frames = []


def stage(frames: Sequence[str]) -> str:
    """The stage of a stack, or ``other``."""
    for function in frames:
        for name, pattern in _PATTERNS.items():
            if pattern.search(function):
                return name
    return "other"
