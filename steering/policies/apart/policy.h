/* SPDX-License-Identifier: GPL-2.0-only
 *
 * apart: the cores are dealt out into sets, and each container has one of them: slot s is of set s modulo
 * `sets`, the NIC's core (0) included, and so is container c, by its number. Inside its set a cell goes to the worker
 * with the smallest backlog; in the NIC core's set it stays there when that is above a limit. A set that
 * has too much to do loses packets in its own queues, and takes nothing from another's cores.
 *
 * Order: kept inside a cell; where a set is one core, kept.
 * Good:  a heavy container beside others: what is behind the NIC stage they do not share.
 * Drowns: a heavy container may not use the cores of idle ones; one that shares a set is not protected.
 * Cost:  once a cell a division, and one cache line of each worker of the set.
 * Races: those of backlog, inside a set.
 */
#include "backlog.h"

#define WITHOUT_LIMIT (1 << 24)

struct policy_flow {
	__u32 left; /* packets to come in this cell */
	__u32 slot; /* where this cell goes */
};

struct policy_core {
	__u64 count[POLICY_COUNTERS];
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	__u32 cores = workers->count + 1;
	/* No set is empty, and none is missing: both are at least 1. */
	__u32 sets = knobs->sets < cores ? knobs->sets : cores;
	__u32 own;

	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = knobs->cell - 1;
	own = packet->container % sets;
	if (own)
		flow->slot = least_loaded_of(workers, own, sets, WITHOUT_LIMIT);
	else
		flow->slot = least_loaded_of(workers, sets, sets, knobs->limit);
	core->count[flow->slot == LOCAL_SLOT ? COUNT_CELLS_LOCAL : COUNT_CELLS_REMOTE]++;
	return flow->slot;
}
