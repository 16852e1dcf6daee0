/* SPDX-License-Identifier: GPL-2.0-only
 *
 * flowcell: runs of consecutive packets, cells, go to one slot together, so that GRO and one softirq can
 * take a cell whole (the flowcell of Presto, SIGCOMM'15). A fixed share of the cells stays on the NIC's
 * core, the others go to the workers in turn.
 *
 * Order: kept inside a cell; a cell may overtake the one before it.
 * Good:  when the share fits the machine: the NIC's core and the workers then finish together.
 * Drowns: when it does not fit: it sends on to a worker that is behind, and packets are lost there.
 * Cost:  two counters a flow. Races: cores that share a flow cut its cells short.
 */
struct policy_flow {
	__u32 left;   /* packets to come in this cell */
	__u32 slot;   /* where this cell goes */
	__u32 owed;   /* local cells owed, in hundredths */
	__u32 worker; /* last worker that got a cell */
};

struct policy_core {
	__u32 unused;
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	(void)packet, (void)core;
	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = knobs->cell - 1;
	flow->owed += knobs->local;
	if (flow->owed >= 100 || !workers->count) {
		flow->owed = flow->owed >= 100 ? flow->owed - 100 : 0;
		flow->slot = LOCAL_SLOT;
		return flow->slot;
	}
	flow->worker = flow->worker < workers->count ? flow->worker + 1 : 1;
	flow->slot = flow->worker;
	return flow->slot;
}
