// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leaves every frame to the stock stack, and counts it. A veth takes redirected frames only while its peer
 * has an XDP program, and has fewer offloads then: so stock variants run under this one.
 */
#include "compat.h"
#include "counters.h"

struct pass_counters {
	__u64 count[PASS_COUNTERS];
};

BPF_PERCPU_ARRAY(pass_counters, struct pass_counters, 1);

int pass(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct pass_counters *counters = pass_counters.lookup(&zero);

	if (counters)
		counters->count[PASS_SEEN]++;
	return XDP_PASS;
}
