// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the end of the receive path gets (tc, ingress of a container's device, or of the NIC where there is
 * none): packets as the IP stack has them, and how many that were before GRO.
 */
#include "compat.h"
#include "counters.h"

#define TCX_NEXT -1

struct ends_counters {
	__u64 count[ENDS_COUNTERS];
};

BPF_PERCPU_ARRAY(ends_counters, struct ends_counters, 1);

int ends(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct ends_counters *counters = ends_counters.lookup(&zero);

	if (counters) {
		counters->count[ENDS_PACKETS]++;
		counters->count[ENDS_SEGMENTS] += skb->gso_segs ? skb->gso_segs : 1;
	}
	return TCX_NEXT;
}
