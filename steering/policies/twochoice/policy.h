/* SPDX-License-Identifier: GPL-2.0-only
 *
 * twochoice: a cell looks at two workers drawn at random and goes to the one with the smaller backlog, as long
 * as that is below a limit; else it stays (the power of two choices: Mitzenmacher, TPDS 2001). What
 * backlog does by looking at all.
 *
 * Order: kept inside a cell; a packet may be overtaken by at most the limit and a cell.
 * Good:  many workers: two cache lines a cell, however many there are.
 * Drowns: few workers: with two it sees no more than backlog does, with one it is backlog.
 * Cost:  once a cell, a random number and two cache lines that workers have just written.
 * Races: as backlog, and two NIC cores seldom draw the same pair.
 */
#include "backlog.h"
#include "choice.h"

struct policy_flow {
	__u32 left;   /* packets to come in this cell */
	__u32 slot;   /* where this cell goes */
	__u32 drawn;  /* state of the generator */
};

struct policy_core {
	__u64 count[POLICY_COUNTERS];
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	__u32 one, other, shift, waiting, also;

	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = knobs->cell - 1;
	flow->slot = LOCAL_SLOT;
	if (!workers->count)
		return LOCAL_SLOT;
	flow->drawn += 1;
	one = rehash(packet->hash, flow->drawn);
	other = rehash(one, 1);
	one = scaled(one, workers->count);
	/* Never the same one twice: counted on from the first, by less than a whole turn. */
	shift = workers->count > 1 ? 1 + scaled(other, workers->count - 1) : 0;
	other = one + shift < workers->count ? one + shift : one + shift - workers->count;
	waiting = backlog(workers, one + 1);
	also = backlog(workers, other + 1);
	if (also < waiting) {
		one = other;
		waiting = also;
	}
	if (waiting < knobs->limit)
		flow->slot = one + 1;
	core->count[flow->slot == LOCAL_SLOT ? COUNT_CELLS_LOCAL : COUNT_CELLS_REMOTE]++;
	return flow->slot;
}
