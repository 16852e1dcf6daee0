/* SPDX-License-Identifier: GPL-2.0-only
 *
 * local: every packet is stripped and delivered on the NIC's own core.
 *
 * Order: strict, one core sees all packets.
 * Good:  light flows, and as the yardstick: what removing the overlay's work gains without spreading.
 * Drowns: when one core is not enough.
 * Cost:  nothing. Races: none.
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
