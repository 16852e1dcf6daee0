/* SPDX-License-Identifier: GPL-2.0-only
 *
 * pin: every packet goes to one chosen worker.
 *
 * Order: strict, one queue and one core behind it.
 * Good:  when the NIC's core has other work, and to see what one handoff costs.
 * Drowns: when the worker falls behind: its queue fills, and then packets are lost.
 * Cost:  a handoff for every packet. Races: none.
 */
struct policy_flow {
	__u32 unused;
};

struct policy_core {
	__u32 unused;
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	(void)packet, (void)flow, (void)core;
	/* Fewer workers than the knob names: the last one. */
	return knobs->worker < workers->count ? knobs->worker : workers->count;
}
