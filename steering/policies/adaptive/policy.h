/* SPDX-License-Identifier: GPL-2.0-only
 *
 * adaptive: nothing to tune. Cell by cell it looks how fast the flow's last cells filled: a light flow stays on the
 * NIC's core, where it is quick and coalesced; a heavy one goes to the worker with the smallest backlog, within a
 * limit, else it stays, too. A worker that has packets and takes none for a while (an application runs on its core, or
 * starves there) is left alone for twenty times as long.
 *
 * Order: of a light flow strict; of a heavy one kept inside a cell of 64, and a packet may be overtaken by at most 192.
 * Good:  when one knows neither traffic nor machine: it is what `attach` uses.
 * Drowns: many light flows that are too much for the NIC's core together: none of them moves. A machine whose core
 *         is full with packets that come slower than `light` says: it never spreads, unless that is raised.
 * Cost:  a clock for every packet; once a heavy flow's cell, one cache line of each worker and half a line of this core's.
 * Races: as `backlog`; each NIC core judges the workers for itself.
 */
#include "backlog.h"

#define CELL 64          /* NAPI's weight */
#define LIMIT 192        /* largest backlog of a worker, the new cell included */
#define STALL_NS 500000  /* without a packet taken: no interrupt takes so long, another's time slice does */
#define REST 20          /* times the stall */

struct policy_flow {
	__u64 begun; /* this cell, ns */
	__u64 fills; /* ns that a cell takes, a moving mean */
	__u32 heavy;
	__u32 left; /* packets to come in this cell */
	__u32 slot; /* where this cell goes */
};

/* What this core has seen of a worker. */
struct watched {
	__u64 done;  /* packets taken out */
	__u64 since; /* something has waited since then, and that has not changed, ns; 0: nothing waited */
	__u64 until; /* left alone, ns */
};

struct policy_core {
	struct watched watched[MAX_WORKERS];
	__u32 turn; /* which one to look at next */
	__u32 pad;
	__u64 count_stalls;
};

/* Between `light` and twice that it stays what it was; a pause counts as a slow cell, not for ever. */
static ALWAYS_INLINE __u32 is_heavy(struct policy_flow *flow, __u64 now, __u64 light)
{
	__u64 took = now - flow->begun;

	flow->begun = now;
	flow->fills = (3 * flow->fills + (took < 4 * light ? took : 4 * light)) / 4;
	if (flow->fills < light)
		flow->heavy = 1;
	if (flow->fills > 2 * light)
		flow->heavy = 0;
	return flow->heavy;
}

/* One worker a cell, in turn: does it take out what it has? */
static ALWAYS_INLINE void watch(struct policy_core *core, const struct workers *workers, __u64 now)
{
	__u32 place = core->turn < workers->count ? core->turn & (MAX_WORKERS - 1) : 0;
	const struct worker *worker = &workers->worker[place];
	struct watched *seen = &core->watched[place];
	__u64 done = READ_SHARED(worker->done);

	core->turn = place + 1;
	if (now < seen->until || !backlog_of(worker)) {
		seen->since = 0;
	} else if (!seen->since || done != seen->done) {
		seen->since = now;
	} else if (now > seen->since + STALL_NS) {
		core->count_stalls++;
		seen->until = now + REST * (now - seen->since);
	}
	seen->done = done;
}

/* As least_loaded(), of those that are not left alone. */
static ALWAYS_INLINE __u32 least_loaded_awake(const struct policy_core *core, const struct workers *workers, __u64 now)
{
	__u64 best = (LIMIT - CELL + 1) << 8;

	for (__u32 place = 0; place < MAX_WORKERS; place++) {
		__u64 rests;

		if (place >= workers->count)
			break;
		rests = (now - core->watched[place].until) >> 63; /* 1 before that time */
		best = smaller((backlog_of(&workers->worker[place]) + (rests << 24)) << 8 | (place + 1), best);
	}
	return (__u32)best & 0xff;
}

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = CELL - 1;
	flow->slot = LOCAL_SLOT;
	if (is_heavy(flow, packet->now, (__u64)knobs->light * 1000)) {
		watch(core, workers, packet->now);
		flow->slot = least_loaded_awake(core, workers, packet->now);
	}
	return flow->slot;
}
