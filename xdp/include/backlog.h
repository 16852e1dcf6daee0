/* SPDX-License-Identifier: GPL-2.0-only
 *
 * How many packets wait for a worker, and which worker has the fewest.
 * Contract: pure; a look costs one cache line that the worker's core has just written (some 50 to
 * 100 ns), so look once a cell and not once a packet.
 */
#ifndef OVERSPRAY_BACKLOG_H
#define OVERSPRAY_BACKLOG_H

#include "compat.h"
#include "policy.h"

/* Packets sent to slot (1 .. workers->count) and not yet taken out. The counters are written by
 * other cores meanwhile: a moment's negative difference reads as 0. */
static ALWAYS_INLINE __u32 backlog(const struct workers *workers, __u32 slot)
{
	const struct worker *worker = &workers->worker[(slot - 1) & (MAX_WORKERS - 1)];
	__u64 gone = READ_SHARED(worker->done) + READ_SHARED(worker->lost);
	__u64 sent = READ_SHARED(worker->sent);

	return sent > gone ? (__u32)(sent - gone) : 0;
}

/* All bits if value is negative, else none. */
static ALWAYS_INLINE __u64 sign_mask(__u64 value)
{
	__u64 mask = (__u64)((__s64)value >> 63);

	OPAQUE(mask);
	return mask;
}

/* Of the slots first, first + step, first + 2 * step … (all at least 1) that with the smallest backlog
 * below limit (1 .. 2^24), or LOCAL_SLOT when there is none.
 * Arithmetic in place of branches: the verifier would walk both ways of every worker's. */
static ALWAYS_INLINE __u32 least_loaded_of(const struct workers *workers, __u32 first, __u32 step,
					   __u32 limit)
{
	__u64 best = (__u64)limit << 8;
	__u32 slot = first;

	for (__u32 turn = 0; turn < MAX_WORKERS; turn++, slot += step) {
		const struct worker *worker = &workers->worker[(slot - 1) & (MAX_WORKERS - 1)];
		__u64 waiting, candidate;

		if (slot > workers->count)
			break;
		waiting = READ_SHARED(worker->sent) - READ_SHARED(worker->done) -
			  READ_SHARED(worker->lost);
		candidate = (waiting & ~sign_mask(waiting)) << 8 | slot;
		/* The smaller of the two; both are far below 2^63. */
		best = candidate + ((best - candidate) & sign_mask(best - candidate));
	}
	return (__u32)best & 0xff;
}

/* The same of all workers. */
static ALWAYS_INLINE __u32 least_loaded(const struct workers *workers, __u32 limit)
{
	return least_loaded_of(workers, 1, 1, limit);
}

#endif
