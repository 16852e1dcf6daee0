/* SPDX-License-Identifier: GPL-2.0-only
 *
 * roundrobin: a new slot for every packet, in turn.
 *
 * Order: none kept. Neighbouring packets race on different cores.
 * Good:  as the plainest form of per-packet parallelism, to compare with.
 * Drowns: GRO finds nothing to merge, every worker is woken again and again, and the slowest core loses
 *         packets while the others have room.
 * Cost:  one counter a flow. Races: cores that share a flow may repeat or skip a turn.
 */
struct policy_flow {
	__u32 next;
};

struct policy_core {
	__u32 unused;
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	__u32 first = knobs->local || !workers->count ? LOCAL_SLOT : 1;
	__u32 slot = flow->next < first ? first : flow->next;

	(void)packet, (void)core;
	if (slot > workers->count)
		slot = first;
	flow->next = slot + 1;
	return slot;
}
