/* SPDX-License-Identifier: GPL-2.0-only
 *
 * twochoice: for each cell two workers are drawn by chance, and the one with the smaller backlog gets it, as long
 * as it then stays within a limit; else the cell stays on the NIC's core. (Power of two choices, Mitzenmacher
 * 2001: nearly as even as looking at all of them, and a look at two costs the same however many there are.)
 *
 * Order: kept inside a cell; a packet may be overtaken by at most the limit.
 * Good:  many workers: what `backlog` does, at the cost of two looks; NIC cores that choose at once choose apart.
 * Drowns: as `backlog`; with few workers it sees less, for the same; a cell stays local when both that were drawn
 *         are busy and a third one is idle.
 * Cost:  once a cell, two workers' cache lines, and three shifts of a number in the flow's state.
 * Races: cores that share a flow draw the same workers, and cut its cells short.
 */
#include "backlog.h"
#include "pick.h"

struct policy_flow {
	__u32 left;   /* packets to come in this cell */
	__u32 slot;   /* where this cell goes */
	__u32 random; /* last number drawn; 0: none yet */
};

struct policy_core {
	__u32 unused;
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	(void)core;
	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = knobs->cell - 1;
	flow->random = next_random(flow->random ? flow->random : packet->hash);
	flow->slot = LOCAL_SLOT;
	if (workers->count && knobs->limit >= knobs->cell) {
		/* Two different ones: the second is one of the others behind the first, around. */
		__u32 one = one_of(flow->random << 16, workers->count);
		__u32 two = one + 1 + one_of(flow->random & 0xffff0000, workers->count - 1);

		two -= two < workers->count ? 0 : workers->count;
		flow->slot = less_loaded(workers, one, two, knobs->limit - knobs->cell);
	}
	return flow->slot;
}
