// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loses a share of the frames that a host sends (tc egress of wire0), for senders that are no wire of ours.
 * They have segments of one frame each then: a packet here is a frame.
 */
#include <linux/pkt_cls.h>

#include "compat.h"
#include "wire_tcp.h"

#define LEAST 500 /* bytes: connection control and acknowledgements are left alone */

BPF_ARRAY(lossy, struct lossy, 1);

int lose(struct __sk_buff *skb)
{
	__u32 zero = 0, random;
	struct lossy *state = lossy.lookup(&zero);

	if (!state || skb->len < LEAST)
		return TC_ACT_UNSPEC;
	/* xorshift32 (Marsaglia 2003). The sender has one core. */
	random = state->random;
	random ^= random << 13;
	random ^= random >> 17;
	random ^= random << 5;
	state->random = random;
	if (random >= state->share)
		return TC_ACT_UNSPEC;
	state->lost++;
	return TC_ACT_SHOT;
}
