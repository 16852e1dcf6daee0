// SPDX-License-Identifier: GPL-2.0-only
/*
 * A NIC that only counts. `pass` leaves every frame to the stock stack: a veth takes redirected frames only
 * while its peer has an XDP program, and has fewer offloads then, so stock variants run under it. `drop` is
 * the shortest receiver, to see how fast a wire is by itself.
 */
#include "compat.h"
#include "counters.h"

struct seen_counters {
	__u64 count[SEEN_COUNTERS];
};

BPF_PERCPU_ARRAY(seen_counters, struct seen_counters, 1);

static ALWAYS_INLINE void count(void)
{
	__u32 zero = 0;
	struct seen_counters *counters = seen_counters.lookup(&zero);

	if (counters)
		counters->count[SEEN_FRAMES]++;
}

int pass(struct xdp_md *ctx)
{
	count();
	return XDP_PASS;
}

int drop(struct xdp_md *ctx)
{
	count();
	return XDP_DROP;
}
