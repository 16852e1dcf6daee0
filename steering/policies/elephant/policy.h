/* SPDX-License-Identifier: GPL-2.0-only
 *
 * elephant: a flow stays on the slot that its hash picks, as with `hash`, while it is light; a heavy one is spread
 * in cells by backlog, as with `backlog`. Heavy is a flow of which so many packets came within a window of time.
 * Packets that open or end a TCP connection always take the hash's slot.
 *
 * Order: of light flows strict; of heavy ones kept inside a cell, and a packet may be overtaken by at most the
 *        limit. A flow that becomes heavy, or light again, is reordered once. A FIN or RST may come before data
 *        that a busy worker still has; TCP waits for it, or asks (RFC 5961).
 * Good:  many light flows and some heavy ones: only those pay for being spread.
 * Drowns: many flows just above the threshold, all of which are reordered for nothing that `hash` lacks; one of a
 *         light flow's neighbours on its slot may be heavy.
 * Cost:  a clock and a count for every packet; a heavy flow's as `backlog`. Memory is bounded: it is the flow's state.
 * Races: flows that share a state are judged together, so a light one may be spread; cores that share a flow
 *        cut its cells short.
 */
#include "backlog.h"
#include "pick.h"

#define HOME (MAX_WORKERS + 1) /* in place of a slot: where the hash puts it */

struct policy_flow {
	__u64 begun; /* this window, ns */
	__u32 seen;  /* packets in it */
	__u32 heavy;
	__u32 left;  /* packets to come in this cell */
	__u32 slot;  /* where this cell goes */
};

struct policy_core {
	__u32 unused;
};

/* By the last window, if that has just ended, and by this one as soon as it is enough. */
static ALWAYS_INLINE __u32 is_heavy(struct policy_flow *flow, __u64 now, const struct knobs *knobs)
{
	__u64 window = (__u64)knobs->window * 1000000;

	if (now >= flow->begun + window) {
		flow->heavy = flow->seen >= knobs->heavy && now < flow->begun + 2 * window;
		flow->begun = now;
		flow->seen = 0;
	}
	if (++flow->seen >= knobs->heavy)
		flow->heavy = 1;
	return flow->heavy;
}

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	__u32 home = hashed_slot(packet->hash, workers, 1);
	__u32 heavy;

	(void)core;
	if (packet->flags & (TCP_SYN | TCP_FIN | TCP_RST))
		return home;
	heavy = is_heavy(flow, packet->now, knobs);
	if (flow->left) {
		flow->left--;
	} else {
		flow->left = knobs->cell - 1;
		flow->slot = !heavy ? HOME :
			     knobs->limit < knobs->cell ?
				      LOCAL_SLOT :
				      least_loaded(workers, knobs->limit - knobs->cell);
	}
	return flow->slot == HOME ? home : flow->slot;
}
