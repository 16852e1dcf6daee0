/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Keys and values of the maps that user space fills.
 * Contract: addresses in network byte order, all other numbers in the machine's. Declarations only:
 * Python reads this file.
 */
#ifndef OVERSPRAY_MAPS_H
#define OVERSPRAY_MAPS_H

#define MAX_PATHS 16384
#define MAX_FLOWS 4096 /* a power of two */

/* What a frame must show to be proven ours; no padding, for it is a key. */
struct path_key {
	__u32 local;  /* our VTEP */
	__u32 remote; /* the one that sent it */
	__u8 mac[6];  /* inner destination; at a place that four bytes may be read from */
	__u16 port;   /* UDP */
	__u32 vni;
};

/* A row of the table of paths. Rows are what user space vouches for: a flow remembers only the number
 * of its row, as a hint, and the row is compared with every packet. */
struct path {
	struct path_key key;
	__u32 valid;  /* written last, and cleared first */
	__u32 mtu;    /* of the inner packet */
	__u32 device; /* where it goes: see struct proof */
	__u32 next;
	__u8 tunnel_mac[6]; /* the tunnel device's own: a frame from it is a loop, which stock drops */
	__u16 pad;
};

struct settings {
	__u64 secret; /* see proof.h */
	__u32 cpumap; /* ids of the maps that redirect, as tracepoints tell them */
	__u32 devmap;
	__u32 veth;   /* 1: delivery by devmap; 0: after GRO, by peer.bpf.c */
	__u8 mac[6];  /* the NIC's own */
	__u16 pad;
};

#endif
