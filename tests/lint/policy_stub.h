/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The smallest policy: the syntax pass over the NIC stage needs one, and none of the real ones.
 */
#define POLICY_NEEDS_TIME 0
#define POLICY_NEEDS_CLEAR 0
#define POLICY_NEEDS_PRESSURE 0
#define POLICY_NEEDS_YIELDS 0

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
	return packet->flow + knobs->unused + flow->unused + core->unused + workers->count;
}
