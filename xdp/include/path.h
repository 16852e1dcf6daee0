/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Is any packet of a flow still on its way? A queue is first in, first out, so it is enough to know
 * the place of the flow's last packet in it, and how many have come out at the far end.
 * Contract: follows steer.bpf.c's maps. An answer of yes is certain: whatever is unknown (a packet
 * that was dropped on the way, another NIC core's at the same moment) makes it no. Only for packets
 * that tail.bpf.c sees, those of DELIVERY_PEER; for all others the answer is no.
 */
#ifndef OVERSPRAY_PATH_H
#define OVERSPRAY_PATH_H

#include "compat.h"
#include "maps.h"
#include "policy.h"

/* Packets that stay on one NIC core, as struct worker counts those of a worker. That core is the only
 * writer; a line of their own, for other cores may read them. */
struct local_path {
	__u64 sent;
	__u64 started;
	__u64 finished;
	__u64 line[5];
};

/* Where the last packet of a flow went. All zero: there was none. */
struct path {
	__u64 place; /* in the queue: how many had been sent, itself included */
	__u64 lost;  /* of these, known to be dropped when it was sent */
	__u32 slot;
	__u32 core;  /* LOCAL_SLOT: the NIC core */
};

/* Nothing is on its way to this worker. Read in this order a sum that is reached means that all were
 * through at one moment, though the counters go on. */
static ALWAYS_INLINE int is_drained(const struct worker *worker)
{
	__u64 lost = READ_SHARED(worker->lost);
	__u64 finished = READ_SHARED(worker->finished);

	return lost + finished >= READ_SHARED(worker->sent);
}

static ALWAYS_INLINE int is_through(const struct path *path, const struct worker *worker)
{
	return READ_SHARED(worker->finished) + path->lost >= path->place || is_drained(worker);
}

#endif
