/* SPDX-License-Identifier: GPL-2.0-only
 *
 * How many packets wait for a worker, and which worker has the fewest.
 * Contract: pure; a look costs, of each worker, a cache line that its core has just written, so look once a cell and not once a packet.
 */
#ifndef OVERSPRAY_BACKLOG_H
#define OVERSPRAY_BACKLOG_H

#include "compat.h"
#include "policy.h"

/* Packets sent to a worker and not yet taken out. Other cores count meanwhile: what is gone is read first,
 * so that a stale number makes the backlog look longer than it is, never shorter. */
static ALWAYS_INLINE __u64 backlog_of(const struct worker *worker)
{
	__u64 gone = READ_SHARED(worker->done) + READ_SHARED(worker->lost);

	return READ_SHARED(worker->sent) - gone;
}

/* The smaller of two numbers below 2^63: by arithmetic, for the verifier would walk both ways of each branch. */
static ALWAYS_INLINE __u64 smaller(__u64 a, __u64 b)
{
	__u64 mask = (__u64)((__s64)(a - b) >> 63);

	OPAQUE(mask);
	return b + ((a - b) & mask);
}

/* The slot with the smallest backlog of at most `most` packets (below 2^24), or LOCAL_SLOT: there is none. */
static ALWAYS_INLINE __u32 least_loaded(const struct workers *workers, __u32 most)
{
	__u64 best = (__u64)(most + 1) << 8;

	for (__u32 place = 0; place < MAX_WORKERS; place++) {
		if (place >= workers->count)
			break;
		best = smaller(backlog_of(&workers->worker[place]) << 8 | (place + 1), best);
	}
	return (__u32)best & 0xff;
}

/* Of two workers, by their places, the slot of that with the smaller backlog, of at most `most`; the first one's where
 * they are alike; else LOCAL_SLOT. */
static ALWAYS_INLINE __u32 less_loaded(const struct workers *workers, __u32 one, __u32 two, __u32 most)
{
	__u64 first = backlog_of(&workers->worker[one & (MAX_WORKERS - 1)]);
	__u64 second = backlog_of(&workers->worker[two & (MAX_WORKERS - 1)]);

	if (first > most && second > most)
		return LOCAL_SLOT;
	return second < first ? two + 1 : one + 1;
}

#endif
