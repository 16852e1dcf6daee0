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
	__u32 local[4];  /* our VTEP; an IPv4 address is the first word, and the others are 0 */
	__u32 remote[4]; /* the one that sent it */
	__u8 mac[6];     /* inner destination; at a place that four bytes may be read from */
	__u16 port;      /* UDP */
	__u32 vni;       /* and above its 24 bits the outer IP version, which those words don't tell */
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
	__u16 unsummed; /* 1: taken without an outer UDP checksum; over IPv6 that is for the tunnel to say */
};

struct settings {
	__u64 secret; /* see proof.h */
	__u32 cpumap; /* ids of the maps that redirect, as tracepoints tell them */
	__u32 devmap;
	__u32 veth;   /* 1: delivery by devmap; 0: after GRO, by peer.bpf.c */
	__u8 mac[6];  /* the NIC's own */
	__u16 watched; /* 1: packets are numbered, see order.h */
};

#endif
