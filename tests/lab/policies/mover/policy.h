/* SPDX-License-Identifier: GPL-2.0-only
 *
 * mover: a flow that is clear moves on to the next slot, as often as it can.
 */
struct policy_flow {
	__u32 slot;
};

struct policy_core {
	__u32 unused;
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	(void)knobs, (void)core;
	if (packet->clear)
		flow->slot = flow->slot < workers->count ? flow->slot + 1 : LOCAL_SLOT;
	return flow->slot;
}
