// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why the kernel drops packets, in its own words: one count for each reason. Not part of the other
 * observers, for it runs once for every packet that is dropped.
 * Arguments as in the kernel's include/trace/events/skb.h (since Linux 5.17).
 */
#include "compat.h"
#include "observe.h"

struct reasons {
	__u64 count[WHY_REASONS];
};

BPF_PERCPU_ARRAY(reasons, struct reasons, 1);

/* (packet, where, reason, …); reasons of subsystems have their number in the upper half */
RAW_TRACEPOINT_PROBE(kfree_skb)
{
	__u32 zero = 0;
	struct reasons *core = reasons.lookup(&zero);
	__u64 reason = (__u32)ctx->args[2];

	if (core)
		core->count[reason < WHY_REASONS ? reason : WHY_REASONS - 1]++;
	return 0;
}
