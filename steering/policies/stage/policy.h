/* SPDX-License-Identifier: GPL-2.0-only
 *
 * stage: Falcon's idea (EuroSys'21) as far as a stock kernel lets a decision in XDP have it. A flow's path is cut
 * where devices end, and each piece has a core that the hash of flow and stage names: the NIC stage is where
 * the NIC's interrupt is, what follows, GRO and the container's stack, is on a worker. Is that worker busy, a
 * second hash names another one, as Falcon does; then the NIC's core keeps the cell.
 * Not in it: Falcon's cuts between bridge and container, for our path has no such devices; a third piece can
 * be had from stock RPS on the container's veth.
 *
 * Order: kept inside a cell; while the first choice is not busy there is no overtaking.
 * Good:  a flow whose NIC stage and stack together are too much for one core, and no more than that.
 * Drowns: a flow whose stack alone fills a core: pieces of a path are as long as they are.
 * Cost:  once a cell two multiplications and one or two cache lines that workers have just written.
 * Races: as backlog.
 */
#include "backlog.h"
#include "choice.h"

#define STACK_STAGE 1

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
	__u32 first, second;

	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = knobs->cell - 1;
	first = rehash(packet->hash, STACK_STAGE);
	second = named_worker(rehash(first, STACK_STAGE), workers);
	first = named_worker(first, workers);
	flow->slot = LOCAL_SLOT;
	if (!workers->count)
		return LOCAL_SLOT;
	if (backlog(workers, first) < knobs->busy) {
		flow->slot = first;
		core->count[COUNT_FIRST]++;
	} else if (backlog(workers, second) < knobs->busy) {
		flow->slot = second;
		core->count[COUNT_SECOND]++;
	} else {
		core->count[COUNT_NEITHER]++;
	}
	return flow->slot;
}
