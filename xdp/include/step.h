/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Contract: pure; the same text in user space and in the kernel.
 */
#ifndef OVERSPRAY_STEP_H
#define OVERSPRAY_STEP_H

#include "check.h"
#include "compat.h"
#include "policy.h"

/* The counters of one worker become what the step says. */
static ALWAYS_INLINE void set_worker(struct workers *workers, const struct step *step)
{
	struct worker *worker = &workers->worker[step->worker & (MAX_WORKERS - 1)];

	worker->sent = step->sent;
	worker->lost = step->lost;
	worker->done = step->done;
	worker->started = step->started;
	worker->finished = step->finished;
	worker->yielded = step->yielded;
	worker->batches = step->batches;
}

#endif
