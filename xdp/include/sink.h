/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What user space tells the sink, and what the sink logs.
 * Contract: a packet is sampled when (sequence & sample_mask) < sample_below, so that samples are whole
 * windows of neighbours. Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_SINK_H
#define OVERSPRAY_SINK_H

#define SINK_LOG 131072 /* arrivals that each core can log */

struct sink_settings {
	__u32 run;          /* only packets of this run count */
	__u32 sample_mask;  /* length of a period, less one: a power of two */
	__u32 sample_below; /* length of the window in it; 0: no samples */
	__u32 accept;       /* 1: an application reads what was counted; 0: it is dropped */
	__u32 accept_foreign; /* the same of what is not: an application may have its own protocol */
};

struct arrival {
	__u64 time; /* ns, monotonic */
	__u32 sequence;
	__u32 flow;
};

#endif
