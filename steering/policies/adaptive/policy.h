/* SPDX-License-Identifier: GPL-2.0-only
 *
 * adaptive: nothing to tune. Cell by cell it looks at what the host is doing.
 *   Is the NIC's core pressed, were its receive polls full lately? If not, the cell stays local: a
 *   light flow is quick, in order, and wakes nobody.
 *   If so, the cell goes to the worker with the smallest backlog, as in backlog.
 *   Had that worker's thread to leave its core to others lately? Then an application shares the core:
 *   cells are halved and the backlog is kept small, so that it is not starved.
 *
 * Order: kept inside a cell; strict while the NIC's core keeps up.
 * Good:  when it is not known beforehand what will come: it is what attach uses by default.
 * Drowns: just above the NIC core's limit it goes to and fro between local and remote.
 * Cost:  once a cell, one cache line of each worker; two tracepoints (polls, changes of threads).
 * Races: as backlog.
 */
#include "backlog.h"

#define CELL 64         /* NAPI's weight: what a receive poll and GRO take at once */
#define LIMIT 128
#define CROWDED_CELL 32
#define CROWDED_LIMIT 32
/* A worker is crowded when it yields more often than once in 64 cells, by a leaking bucket. */
#define CROWD_STEP 64
#define CROWD_FROM 128
#define CROWD_MOST 256

struct policy_flow {
	__u32 left; /* packets to come in this cell */
	__u32 slot; /* where this cell goes */
};

struct policy_core {
	__u64 count[POLICY_COUNTERS];
	__u32 yielded[MAX_WORKERS]; /* when last looked at */
	__u32 crowd[MAX_WORKERS];   /* the bucket */
};

static ALWAYS_INLINE int is_crowded(struct policy_core *core, const struct workers *workers,
				    __u32 slot)
{
	__u32 index = (slot - 1) & (MAX_WORKERS - 1);
	__u32 yielded = (__u32)READ_SHARED(workers->worker[index].yielded);
	__u32 crowd = core->crowd[index];

	if (yielded != core->yielded[index])
		crowd = crowd < CROWD_MOST - CROWD_STEP ? crowd + CROWD_STEP : CROWD_MOST;
	else if (crowd)
		crowd--;
	core->yielded[index] = yielded;
	core->crowd[index] = crowd;
	return crowd > CROWD_FROM;
}

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	__u32 slot;

	(void)knobs;
	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = CELL - 1;
	flow->slot = LOCAL_SLOT;
	if (!packet->pressed) {
		core->count[COUNT_CELLS_CALM]++;
		return LOCAL_SLOT;
	}
	slot = least_loaded(workers, LIMIT);
	if (slot != LOCAL_SLOT && is_crowded(core, workers, slot)) {
		core->count[COUNT_CELLS_CROWDED]++;
		flow->left = CROWDED_CELL - 1;
		if (backlog(workers, slot) >= CROWDED_LIMIT)
			slot = LOCAL_SLOT;
	}
	core->count[slot == LOCAL_SLOT ? COUNT_CELLS_FULL : COUNT_CELLS_REMOTE]++;
	flow->slot = slot;
	return slot;
}
