// SPDX-License-Identifier: GPL-2.0-only
/*
 * Samples kernel stacks by the cores' clocks: where the receive path spends its time. What runs with
 * interrupts off is charged to the moment they come on again; the stack around it is right.
 */
#include "compat.h"
#include "profile.h"

BPF_PERCPU_ARRAY(profile_samples, __u64, PROFILE_STACKS);
BPF_STACK_TRACE(profile_stacks, PROFILE_STACKS);

int sample(void *ctx)
{
	__u32 stack = profile_stacks.get_stackid(ctx, 0);
	__u64 *count = profile_samples.lookup(&stack); /* none where an error came as a negative number */

	if (count)
		*count += 1;
	return 0;
}
