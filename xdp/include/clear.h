/* SPDX-License-Identifier: GPL-2.0-only
 *
 * How many of the packets that a core was given are past all that runs on it: GRO, the stack, the socket.
 * Contract: pure. One writer, which calls clearing_step() once for each batch of packets that the core begins with.
 *
 * A core begins with a batch when it has ended the last one, and what it does not hold back in GRO has then gone to the
 * socket. It flushes GRO behind 64 packets at the latest: a NIC's poll ends after so many, and so does a cpumap thread
 * (since Linux 6.15; before, it held nothing back). But where a jiffy is 1 ms, a flush between two full polls spares
 * what came in the same jiffy. So what was taken before a mark is through when the core has begun with a batch behind 64
 * packets that came a jiffy after the mark.
 */
#ifndef OVERSPRAY_CLEAR_H
#define OVERSPRAY_CLEAR_H

#include "compat.h"
#include "policy.h"

#define JIFFY_NS 1048576    /* longer ones don't matter: then each flush is one of all */
#define LONGEST_BATCH 64    /* NAPI's weight */

/* The core begins with so many `packets`; of all before, and of these if they go to GRO only now, it has had `taken`. */
static ALWAYS_INLINE void clearing_step(struct clearing *clearing, __u64 taken, __u64 packets, __u64 now)
{
	if (now < clearing->since + JIFFY_NS)
		return;
	if (clearing->behind < LONGEST_BATCH) {
		clearing->behind += packets;
		return;
	}
	clearing->through = clearing->mark;
	clearing->mark = taken;
	clearing->since = now;
	clearing->behind = 0;
}

#endif
