"""Folding of perf's stacks into stages."""

import pytest

from bench.stages import FREQUENCY, Profile, stacks, stage

TEXT = """\
[000]
\tffffffff81 csum_partial
\tffffffff82 skb_gro_receive
\tffffffff83 veth_xdp_rcv_bulk_skb.isra.0
\tffffffff84 veth_poll
\tffffffff85 xdp_test_run_batch.constprop.0

[001]
\tffffffff86 pv_native_safe_halt

[000]
\tffffffff87 bpf_prog_6bcfa9eb8bc792bf_steer
\tffffffff88 veth_xdp_rcv_one
"""


def test_samples_are_told_apart() -> None:
    found = list(stacks(TEXT.splitlines()))
    assert [core for core, _ in found] == [0, 1, 0]
    assert found[0][1][0] == "csum_partial" and len(found[0][1]) == 5


@pytest.mark.parametrize(
    ("frames", "name"),
    [
        (["csum_partial", "skb_gro_receive", "veth_poll"], "GRO"),
        (["bpf_prog_6bcfa9eb8bc792bf_steer", "veth_xdp_rcv_one"], "NIC stage"),
        (["_raw_spin_unlock_irqrestore", "sock_def_readable", "tcp_data_queue"], "wake-up"),
        (["memcpy", "copy_to_iter", "tcp_recvmsg_locked"], "copy"),
        (["__pi_memcpy", "bpf_prog_a76b551cb42ad280_wire_tcp", "xdp_test_run_batch"], "wire"),
        (["ip_finish_output2", "__tcp_transmit_skb"], "ACKs"),
        (["nobody_knows"], "other"),
        ([], "other"),
    ],
)
def test_the_innermost_named_function_is_the_stage(frames: list[str], name: str) -> None:
    assert stage(frames) == name


def test_samples_become_nanoseconds_a_packet() -> None:
    one = Profile("flannel/none", 2.0, 1_000_000, {0: {"GRO": FREQUENCY, "wire": 0}, 1: {}})
    assert one.per_packet() == {0: {"GRO": pytest.approx(1000.0), "wire": 0.0}, 1: {}}
