/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The inner frame: whom it is for, which flow it belongs to, and what its checksum says.
 * Contract: as vxlan.h. Only plain UDP and TCP over plain IPv4 is classified; what the container's own
 * stack checks anyway (inner lengths and checksums) is left to it.
 */
#ifndef OVERSPRAY_FLOW_H
#define OVERSPRAY_FLOW_H

#include "vxlan.h"

#define ECN_ECT_1 1
#define ECN_CE 3
#define TCP_BYTES 20

struct inner_headers {
	struct ethhdr ethernet;
	struct iphdr ip;
	__be16 ports[2]; /* source, destination */
	__be16 length;   /* UDP */
	__be16 check;    /* UDP */
} __attribute__((packed));

static ALWAYS_INLINE int parse_inner(struct cursor *cursor, struct inner_headers **found)
{
	struct ethhdr *ethernet = cursor->at;
	struct inner_headers *inner;

	if ((void *)(ethernet + 1) > cursor->end)
		return STEER_PASS_LENGTH;
	/* A bridge drops what no host can have sent. */
	if (protocol_of(ethernet) != bpf_htons(ETH_P_IP) || !is_host(ethernet->h_source))
		return is_tagged(ethernet) ? STEER_PASS_VLAN : STEER_PASS_INNER;
	inner = take(cursor, struct inner_headers);
	if (!inner)
		return STEER_PASS_LENGTH;
	if (*(__u8 *)&inner->ip != 0x45)
		return STEER_PASS_OPTIONS;
	if (inner->ip.frag_off & bpf_htons(IP_FRAGMENT))
		return STEER_PASS_FRAGMENT;
	if (inner->ip.protocol == PROTO_TCP) {
		if ((void *)inner->ports + TCP_BYTES > cursor->end)
			return STEER_PASS_LENGTH;
	} else if (inner->ip.protocol != PROTO_UDP) {
		return STEER_PASS_INNER;
	}
	*found = inner;
	return 0;
}

/* A hash of the inner 5-tuple: two multiplications side by side, folded and mixed by a third. Odd
 * multipliers without structure: the 64-bit golden ratio, and the root of 3. */
static ALWAYS_INLINE __u32 flow_hash(const struct inner_headers *inner)
{
	const __u64 golden = 0x9e3779b97f4a7c15ULL, other = 0xbb67ae8584caa73bULL;
	__u64 mix = ((__u64)inner->ip.saddr << 32 | inner->ip.daddr) * golden;

	mix ^= ((__u64)inner->ip.protocol << 32 | AT(__u32, inner->ports)) * other;
	mix ^= mix >> 32;
	mix *= golden;
	return (__u32)(mix >> 32);
}

/*
 * Is a non-zero outer UDP checksum right? Layer 4 of an intact inner packet sums up to the complement of
 * its own pseudo-header, so headers alone tell (the idea of local checksum offload, the kernel's
 * Documentation/networking/checksum-offloads.rst). A damaged payload is caught by the inner checksum.
 */
static ALWAYS_INLINE bool checksum_agrees(const struct outer_headers *outer, const struct inner_headers *inner)
{
	const __u32 headers = sizeof(outer->udp) + sizeof(outer->vxlan) + sizeof(inner->ethernet) +
			      sizeof(inner->ip);
	__u32 payload = (__u32)bpf_ntohs(inner->ip.tot_len) - sizeof(inner->ip);
	__u64 sum, pseudo;

	/* The outer sum must cover what the inner one does and no more: padding behind the inner packet, or
	 * behind a datagram that ends before its packet, is covered outside alone. */
	if (headers + payload != bpf_ntohs(outer->udp.len))
		return false;
	if (inner->ip.protocol == PROTO_UDP && (!inner->check || inner->length != bpf_htons((__u16)payload)))
		return false;
	/* Pseudo-header (RFC 768), UDP and VXLAN header, inner Ethernet and IP header. */
	sum = (__u64)bpf_htons(PROTO_UDP) + outer->udp.len;
	sum = add_words(sum, &outer->ip.saddr, 2);
	sum = add_words(sum, &outer->udp, (sizeof(outer->udp) + sizeof(outer->vxlan)) / 4);
	sum = add_words(sum, &inner->ethernet, sizeof(inner->ethernet) / 4);
	sum += inner->ethernet.h_proto;
	sum = add_words(sum, &inner->ip, sizeof(inner->ip) / 4);
	pseudo = (__u64)bpf_htons(inner->ip.protocol) + bpf_htons((__u16)payload);
	pseudo = add_words(pseudo, &inner->ip.saddr, 2);
	return folded(sum + (folded(pseudo) ^ 0xffff)) == 0xffff;
}

/* Congestion mark of the packet that leaves the tunnel (RFC 6040, figure 4), or -1: not ours. */
static ALWAYS_INLINE int ecn_of(__u8 outer, __u8 inner)
{
	if (LIKELY(!outer))
		return inner;
	if (outer == ECN_CE)
		return inner ? ECN_CE : -1;
	return outer == ECN_ECT_1 && inner && inner != ECN_CE ? ECN_ECT_1 : inner;
}

/* Incremental update of the header checksum, RFC 1624 equation 3. */
static ALWAYS_INLINE void set_ecn(struct iphdr *ip, __u8 ecn)
{
	__u8 before = ip->tos, after = (before & ~3) | ecn;

	ip->tos = after;
	ip->check = ~folded((__u64)(__u16)~ip->check + (__u16)~bpf_htons(before) + bpf_htons(after));
}

#endif
