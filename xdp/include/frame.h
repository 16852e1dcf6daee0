/* SPDX-License-Identifier: GPL-2.0-only
 *
 * A frame on its way through the packet engine (host/engine.c).
 * Contract: the bytes lie in one buffer; what a stage takes off moves `at`. Nobody but the stage that
 * has the frame touches it. Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_FRAME_H
#define OVERSPRAY_FRAME_H

#include "maps.h"

/* Fates that are no slot. */
#define FRAME_PASSED 0xfffffffd  /* for the stock stack, as it came */
#define FRAME_DROPPED 0xfffffffe
#define FRAME_FAULT 0xffffffff   /* the policy did what its contract forbids */

struct frame {
	__u64 time;    /* ns: when it arrived */
	__u64 at;      /* of its first byte in the buffer */
	__u32 length;
	__u32 fate;    /* the slot it went to, or one of the above */
	__u32 flow;    /* delivered: hash of the inner 5-tuple */
	__u32 damaged; /* delivered: 1 where the container's stack will find a wrong checksum or length */
};

/* What the headers of a frame name, if they are such as are taken off. */
struct named {
	struct tunnel_key tunnel;
	struct endpoint_key endpoint;
	__u8 mac[6]; /* the NIC's */
	__u16 whole; /* 0: they are not */
};

#endif
