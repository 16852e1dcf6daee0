"""The worker stage: a frame with our proof goes into its container's veth, any other is dropped.

Loaded as a plain XDP program, for the kernel makes no test runs of programs for a cpumap.
"""

import struct

import numpy as np
import pytest
from frames import BOX, IN4, SEGMENT
from nic import ABORTED, DROP, PASS, PROOF, REDIRECT, SECRET, VETH_PORT, Nic

from steering import bpf
from steering.layout import header

pytestmark = pytest.mark.root

FRAME = bytes(BOX / IN4 / SEGMENT)


KINDS = header("maps.h").enum("delivery")


def proof(secret: int = SECRET, port: int = VETH_PORT, kind: str = "VETH") -> bytes:
    value = np.zeros((), PROOF)
    value["secret"], value["port"], value["delivery"] = secret, port, KINDS[f"DELIVERY_{kind}"]
    return value.tobytes()


def run(nic: Nic, metadata: bytes) -> tuple[int, dict[str, int], bytes]:
    """Verdict, what was counted, and the bytes after the run."""
    program = nic.unit.module.load("deliver", bpf.PROG_TYPE_XDP)
    before = nic.unit.totals().deliver
    data = metadata + FRAME
    # struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    context = struct.pack("=6I", len(metadata), len(data), 0, 0, 0, 0)
    done = bpf.prog_test_run(program, data, context=context)
    counted = nic.unit.totals().deliver - before
    return done.retval, dict(counted), done.data


def test_with_our_proof_it_goes_on(witness: Nic) -> None:
    assert run(witness, proof()) == (REDIRECT, {"veth": 1}, proof() + FRAME)


@pytest.mark.parametrize("kind", ["PEER", "INGRESS"])
def test_what_tc_delivers_is_left_to_it(witness: Nic, kind: str) -> None:
    metadata = proof(kind=kind)
    assert run(witness, metadata) == (PASS, {}, metadata + FRAME)


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        proof()[:8],
        proof()[:20],
        proof(secret=0),
        proof(secret=SECRET ^ 1),
        proof(secret=SECRET ^ 1 << 63),
        b"\xff" * len(proof()),
    ],
    ids=bytes.hex,
)
def test_without_it_is_dropped_and_counted(witness: Nic, metadata: bytes) -> None:
    assert run(witness, metadata) == (DROP, {"drop_proof": 1}, metadata + FRAME)


def test_a_container_that_is_gone_gets_nothing(witness: Nic) -> None:
    assert run(witness, proof(port=VETH_PORT + 1))[0] == ABORTED
