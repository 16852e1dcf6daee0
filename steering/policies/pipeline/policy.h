/* SPDX-License-Identifier: GPL-2.0-only
 *
 * pipeline: one flow's path cut in two. Stripping and GRO are the NIC's core's, for every packet; the
 * container's stack is another core's, to which stock RPS hands what GRO made (the knob rps). Nothing
 * goes through a cpumap.
 *
 * Order: strict, each half is one core's.
 * Good:  a stream whose sender must not see any disorder, and one that one core nearly carries.
 * Drowns: at what the busier half can do; a third core has nothing to do for one flow.
 * Cost:  nothing here; RPS hashes each packet that GRO made, once. Races: none.
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
	(void)packet, (void)knobs, (void)flow, (void)core, (void)workers;
	return LOCAL_SLOT;
}
