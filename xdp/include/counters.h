/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Names of every count that our programs keep, one enum a program.
 * Contract: an enumerator is the index into that program's per-core counters; the comment behind it
 * is what people are shown. All programs run with bottom halves off, so that on one core no two
 * increments interleave and a plain ++ is exact. Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_COUNTERS_H
#define OVERSPRAY_COUNTERS_H

enum wire_counter {
	WIRE_SENT,         /* frames that were to go to the wire's device */
	WIRE_DROP_RING,    /* lost at the device: the NIC's ring was full */
	WIRE_DROP_REFUSED, /* never taken by the device: it is down, or its NIC has no NAPI */
	WIRE_COUNTERS
};

enum drop_counter {
	DROP_SEEN, /* arrived on the NIC, and dropped there */
	DROP_COUNTERS
};

#endif
