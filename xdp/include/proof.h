/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What travels with a proven frame to the worker and on into the skb. It is written over the end of the
 * tunnel's headers, and is the frame's metadata once those are taken off: in a cache line that is hot, and
 * that the worker needs anyway.
 * Contract: a frame without it, or with another secret, is not one that we have proven. All packets of
 * a flow on one core carry the same, for GRO merges no packets whose metadata differ; at most 32 bytes.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_PROOF_H
#define OVERSPRAY_PROOF_H

struct proof {
	__u64 secret; /* drawn at random when the datapath is attached */
	__u32 device; /* after GRO: the first hop's ifindex in the NIC's namespace; by devmap: the place in it */
	__u32 next;   /* the second hop's in the overlay's namespace; 0: there is none */
	__u32 slot;   /* whom the policy chose */
	__u32 numbered; /* 1: in the frame there is a mark in front of it */
};

/* How it ends the tunnel's headers. */
struct vouched {
	__u64 mark; /* see order.h; arbitrary bytes unless the proof says `numbered` */
	struct proof proof;
};

#endif
