/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What `overspray policy check` puts before a policy, in user space and in the kernel alike.
 * Contract: a step is applied whole, the worker's counters first, then the packet is decided on.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_CHECK_H
#define OVERSPRAY_CHECK_H

#include "policy.h"

/* Slots that no policy may return: they tell that there was no decision. */
#define STEP_FAULT 0xffffffff /* a division by zero, a shift too far, an index out of bounds */
#define STEP_BROKEN 0xfffffffe /* the step did not arrive whole */

struct step {
	struct packet packet;
	__u32 worker; /* whose counters become these, from 0 */
	__u32 pad;
	__u64 sent;
	__u64 lost;
	__u64 done;
	__u64 started;
	__u64 finished;
	__u64 yielded;
	__u64 batches;
};

#endif
