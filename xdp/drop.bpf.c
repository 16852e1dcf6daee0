// SPDX-License-Identifier: GPL-2.0-only
/* Counts and drops every frame: the shortest receiver, to see how fast a wire is by itself. */
#include "compat.h"
#include "counters.h"

struct drop_counters {
	__u64 count[DROP_COUNTERS];
};

BPF_PERCPU_ARRAY(drop_counters, struct drop_counters, 1);

int drop(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct drop_counters *counters = drop_counters.lookup(&zero);

	if (counters)
		counters->count[DROP_SEEN]++;
	return XDP_DROP;
}
