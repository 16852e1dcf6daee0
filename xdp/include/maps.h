/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Keys and values of the maps that user space fills.
 * Contract: addresses in network byte order, IPv4 as ::ffff:a.b.c.d. Declarations only: Python reads
 * this file.
 */
#ifndef OVERSPRAY_MAPS_H
#define OVERSPRAY_MAPS_H

#define MAX_TUNNELS 4096
#define MAX_ENDPOINTS 4096
#define MAX_SENDERS 16384
#define MAX_FLOWS 4096 /* a power of two */
#define MAX_CORES 1024

struct tunnel_key {
	__be32 local[4];  /* our VTEP */
	__be32 remote[4]; /* theirs */
	__u32 vni;
	__u16 port;       /* UDP, host byte order */
	__u16 bare;       /* 1: outer IPv6 without a UDP checksum, which few tunnels take (RFC 6935) */
};

struct endpoint_key {
	__u32 vni;
	__u8 mac[6];
	__u16 port; /* UDP, host byte order: networks of one VNI may differ by it */
};

enum delivery {
	DELIVERY_VETH,    /* XDP redirect into the container's veth: works across namespaces */
	DELIVERY_PEER,    /* up the stack of the NIC's namespace, after GRO into the container (tc) */
	DELIVERY_INGRESS  /* the same, but to a device of the NIC's namespace (case linux) */
};

/* A row of the table of tunnels. Rows are what user space vouches for: a flow remembers only the
 * number of its row, as a hint, and the row is compared with every packet. */
struct tunnel {
	struct tunnel_key key;
	__u32 valid; /* written last; a row is not used again for long after it was made invalid */
};

/* A row of the table of containers. */
struct endpoint {
	struct endpoint_key key;
	__u32 valid; /* as above */
	__u32 delivery;
	__u32 port;   /* DELIVERY_VETH: place in the devmap */
	__u32 device; /* else: the device of the first hop, as the NIC's namespace numbers it */
	__u32 next;   /* and of the second, as the overlay's namespace numbers it; or 0 */
	__u64 home;   /* cookie of its namespace, if it has a short way back; or 0 */
	__u32 host;   /* its host end, as the namespace of that numbers it */
	__u32 exit;   /* where the way back leaves that namespace: the NIC, or the helper to it */
	__u32 number; /* of the container, as policies know it */
	__u32 pad;
};

/* A row of the table of remote containers that are fixed behind one VTEP. */
struct sender {
	struct endpoint_key key;
	__u32 valid;      /* as above */
	__be32 remote[4]; /* the VTEP; none (zeros) where there are several: their frames go stock */
};

struct settings {
	__u64 secret;     /* see proof.h */
	__u32 cpumap;     /* id of the map that hands over, as tracepoints name it */
	__u8 mac[6];      /* the NIC's own */
	__u8 follow;      /* 1: streams are followed, for back.bpf.c */
	__u8 back;        /* 1: acknowledgements take the short way */
	__u64 hold;       /* ns for which the shield may keep acknowledgements to itself; 0: it is down */
	__u32 guarded;    /* 1: there are senders that are fixed behind a VTEP */
	__u32 cells;      /* packets of a flow for which a decision holds; 0: the policy makes each */
};

#endif
