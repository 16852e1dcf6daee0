/* SPDX-License-Identifier: GPL-2.0-only
 *
 * elephant: a flow is light until it has sent more than `heavy` packets in a window of time; light
 * flows stay on the core that their hash names, heavy ones are sprayed in cells by backlog. A flow
 * that sends less than half of that in a window is light again. Packets that open and close a TCP
 * connection stay pinned.
 * How heavy: two counters in the flow's state, in the bounded table of flows. Flows whose hashes
 * share an entry are weighed as one; one that lost its place to another starts light.
 *
 * Order: light flows keep it, but for one change of core when they grow heavy; heavy ones inside a cell.
 * Good:  a few heavy flows among many light ones: only those pay in order that gain by it.
 * Drowns: more heavy flows at once than the table has places; a heavy flow shorter than a window.
 * Cost:  the time, for every packet; once a cell as backlog.
 * Races: none of its own, a flow stays on one NIC core.
 */
#include "backlog.h"
#include "choice.h"

#define TCP_FIN_SYN_RST 0x07
#define NS_SHIFT 10 /* a microsecond is taken for 1024 ns: no division, no multiplication of 64 bits */

struct policy_flow {
	__u32 left;   /* packets to come in this cell */
	__u32 slot;   /* where this cell goes */
	__u32 window; /* in which packets are being counted: its begin, in some microseconds */
	__u32 count;
	__u32 heavy;
	__u32 known;  /* the window has begun */
};

struct policy_core {
	__u64 count[POLICY_COUNTERS];
};

/* Count a packet; when a window is over, judge the flow by it. */
static ALWAYS_INLINE void weigh(struct policy_flow *flow, struct policy_core *core,
				const struct knobs *knobs, __u64 now)
{
	__u32 micros = (__u32)(now >> NS_SHIFT);
	__u32 passed = micros - flow->window;

	if (!flow->known || passed >= knobs->window) {
		/* A pause of a whole window and more has seen nothing. */
		if (!flow->known || passed >= 2 * knobs->window || flow->count < knobs->heavy / 2)
			flow->heavy = 0;
		flow->known = 1;
		flow->window = micros;
		flow->count = 0;
	}
	flow->count++;
	if (flow->count > knobs->heavy && !flow->heavy) {
		flow->heavy = 1;
		core->count[COUNT_GROWN]++;
	}
}

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	__u32 home = scaled(rehash(packet->hash, 0), workers->count + 1);

	weigh(flow, core, knobs, packet->now);
	if (!flow->heavy || packet->tcp_flags & TCP_FIN_SYN_RST)
		return home;
	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = knobs->cell - 1;
	flow->slot = least_loaded(workers, knobs->limit);
	core->count[flow->slot == LOCAL_SLOT ? COUNT_CELLS_LOCAL : COUNT_CELLS_REMOTE]++;
	return flow->slot;
}
