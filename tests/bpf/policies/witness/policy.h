/* SPDX-License-Identifier: GPL-2.0-only
 *
 * witness: returns the slot that its knob says, whatever it is, and keeps what it was told, so that
 * tests can read it: the packet's facts, and how many packets this flow's state has seen.
 */
struct policy_flow {
	__u32 seen;
};

struct policy_core {
	struct packet packet;
	__u32 seen; /* of the flow, this packet included */
	__u32 pad;
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	(void)workers;
	flow->seen++;
	core->seen = flow->seen;
	__builtin_memcpy(&core->packet, packet, sizeof(*packet));
	return knobs->slot;
}
