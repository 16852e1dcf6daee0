"""The kernel's buckets are Python's."""

import struct
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bench import histogram
from steering import bpf
from steering.bpf import Kind
from steering.compile import Module

PROGRAM = """
#include "compat.h"
#include "histogram.h"

int bucket(struct xdp_md *ctx)
{
	__u64 *value = (void *)(long)ctx->data;

	if ((void *)(value + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	*value = histogram_bucket(*value);
	return XDP_PASS;
}
"""
EDGES = [at + off for power in range(64) for at in [1 << power] for off in (-1, 0, 1) if at + off < 1 << 64]


def test_every_value_falls_into_the_same_bucket(tmp_path: Path) -> None:
    source = tmp_path / "bucket.bpf.c"
    source.write_text(PROGRAM)
    with Module(str(source)) as module:
        program = module.load("bucket", Kind.XDP)

        def in_the_kernel(value: int) -> int:
            _, data = bpf.test_run(program, struct.pack("=Q", value).ljust(64, b"\0"))
            return int(struct.unpack_from("=Q", data)[0])

        for value in EDGES:
            assert in_the_kernel(value) == int(histogram.index(value)), value

        @settings(derandomize=True, deadline=None, database=None, max_examples=300)
        @given(st.integers(0, 2**37))
        def agrees(value: int) -> None:
            assert in_the_kernel(value) == int(histogram.index(value))

        agrees()
