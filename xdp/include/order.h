/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Numbers by which packets of a flow are seen to overtake each other, while somebody watches (struct settings).
 * Contract: pure. A mark is a flow's hash, and below it a number that grows with each packet that is steered; 0 is none.
 *
 * Flows may share a row, of numbers and of the latest mark that was delivered. Then each goes on from where the other left
 * the numbers, and marks of two flows are not compared. NIC cores may race for a number, and get the same; cores that
 * deliver may race for the latest mark, and an older one stay. So what is missed by any of that is missed, and a packet that
 * kept its order is never counted. While nobody watches both rows stay as they are: no mark is older for it.
 */
#ifndef OVERSPRAY_ORDER_H
#define OVERSPRAY_ORDER_H

#include "compat.h"

/* Two steps: one that returns what it has added to needs Linux 5.12. */
static ALWAYS_INLINE __u64 next_mark(__u32 *number, __u32 hash)
{
	__sync_fetch_and_add(number, 1);
	return (__u64)hash << 32 | READ_SHARED(*number);
}

/* Whether it comes behind a later one of its flow: reordered, as RFC 4737 (section 3.3) says. Numbers wrap. */
static ALWAYS_INLINE bool is_overtaken(__u64 mark, __u64 latest)
{
	return mark >> 32 == latest >> 32 && (__s32)((__u32)mark - (__u32)latest) < 0;
}

#endif
