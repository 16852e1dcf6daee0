// SPDX-License-Identifier: GPL-2.0-only
/* Counts and drops every frame: the shortest receiver, to see how fast a wire is by itself. */
#include "compat.h"

BPF_PERCPU_ARRAY(dropped, __u64, 1);

int drop(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *count = dropped.lookup(&zero);

	(void)ctx;
	if (count)
		*count += 1;
	return XDP_DROP;
}
