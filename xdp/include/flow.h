/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The inner frame: whom it is for, which flow it belongs to, and what its checksum says.
 * Contract: as vxlan.h. Only plain UDP and TCP over plain IPv4 and IPv6 are classified; what the
 * container's own stack checks anyway (inner lengths and checksums) is left to it.
 */
#ifndef OVERSPRAY_FLOW_H
#define OVERSPRAY_FLOW_H

#include "policy.h"
#include "vxlan.h"

#define ECN_CE 3
#define ECN_ECT_1 1

struct inner {
	struct ethhdr *ethernet;
	struct iphdr *v4;   /* one of the two */
	struct ipv6hdr *v6;
	__be16 *ports;      /* source, destination */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 ecn;
	__u8 has_checksum;
};

static ALWAYS_INLINE int parse_inner_v4(struct cursor *cursor, struct inner *inner)
{
	struct iphdr *ip = take(cursor, struct iphdr);

	if (!ip)
		return STEER_PASS_LENGTH;
	if (ip->version != 4 || ip->ihl != 5)
		return STEER_PASS_OPTIONS;
	if (ip->frag_off & swap16(IP_FRAGMENT))
		return STEER_PASS_FRAGMENT;
	inner->protocol = ip->protocol;
	inner->ecn = ip->tos & 3;
	inner->v4 = ip;
	return 0;
}

static ALWAYS_INLINE int parse_inner_v6(struct cursor *cursor, struct inner *inner)
{
	struct ipv6hdr *ip = take(cursor, struct ipv6hdr);

	if (!ip)
		return STEER_PASS_LENGTH;
	if (ip->version != 6)
		return STEER_PASS_INNER;
	inner->protocol = ip->nexthdr;
	inner->ecn = (ip->flow_lbl[0] >> 4) & 3;
	inner->v6 = ip;
	return extension(ip->nexthdr);
}

static ALWAYS_INLINE int parse_ports(struct cursor *cursor, struct inner *inner)
{
	if (inner->protocol == IPPROTO_UDP) {
		struct udphdr *udp = take(cursor, struct udphdr);

		if (!udp)
			return STEER_PASS_LENGTH;
		inner->ports = &udp->source;
		inner->has_checksum = udp->check != 0;
		return 0;
	}
	if (inner->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = take(cursor, struct tcphdr);

		if (!tcp)
			return STEER_PASS_LENGTH;
		inner->ports = &tcp->source;
		inner->tcp_flags = ((__u8 *)tcp)[13];
		inner->has_checksum = 1;
		return 0;
	}
	return STEER_PASS_INNER;
}

static ALWAYS_INLINE int parse_inner(struct cursor *cursor, struct inner *inner)
{
	int verdict;

	inner->ethernet = take(cursor, struct ethhdr);
	if (!inner->ethernet)
		return STEER_PASS_LENGTH;
	/* A bridge drops what no host can have sent. */
	if (!one_host(inner->ethernet->h_source))
		return STEER_PASS_INNER;
	if (protocol_of(inner->ethernet) == swap16(ETH_P_IP))
		verdict = parse_inner_v4(cursor, inner);
	else if (protocol_of(inner->ethernet) == swap16(ETH_P_IPV6))
		verdict = parse_inner_v6(cursor, inner);
	else
		return STEER_PASS_INNER;
	return verdict ? verdict : parse_ports(cursor, inner);
}

/* A hash of the inner 5-tuple: two multiplications side by side, folded and mixed by a third. Odd
 * multipliers without structure: the 64-bit golden ratio, and the root of 3. The low bits choose a
 * flow's place, and neighbouring flows differ in few bits. */
static ALWAYS_INLINE __u32 flow_hash(const struct inner *inner)
{
	const __u64 golden = 0x9e3779b97f4a7c15ULL, other = 0xbb67ae8584caa73bULL;
	__u64 mix = 0;

	if (inner->v4) {
		mix = (__u64)inner->v4->saddr << 32 | inner->v4->daddr;
	} else if (inner->v6) {
		const __be32 *source = inner->v6->saddr.in6_u.u6_addr32;
		const __be32 *target = inner->v6->daddr.in6_u.u6_addr32;

		mix = AT(__u64, source + 2) * other + AT(__u64, target + 2);
		mix = mix * other + (AT(__u64, source) ^ AT(__u64, target));
	}
	mix = (mix * golden) ^ (((__u64)inner->protocol << 32 | AT(__u32, inner->ports)) * other);
	mix ^= mix >> 32;
	mix *= golden;
	return (__u32)(mix >> 32);
}

/*
 * Is the outer UDP checksum right? Layer 4 of an intact inner packet sums up to the complement of its
 * own pseudo-header, so headers alone tell (the idea of local checksum offload, the kernel's
 * Documentation/networking/checksum-offloads.rst). A damaged payload is caught by the inner checksum.
 */
static ALWAYS_INLINE int checksum_agrees(const struct outer *outer, const struct inner *inner)
{
	__u32 headers = sizeof(struct udphdr) + sizeof(struct vxlan_header) + sizeof(struct ethhdr);
	__u64 sum, pseudo = swap16(inner->protocol);
	__u32 payload = 0; /* bytes of layer 4 by the IP header */

	if (!inner->has_checksum)
		return 0;
	/* Pseudo-header (RFC 768, RFC 8200 section 8.1), UDP and VXLAN header, inner Ethernet header. */
	sum = swap16(IPPROTO_UDP) + outer->udp->len;
	if (outer->v4)
		sum = add_words(sum, &outer->v4->saddr, 2);
	else if (outer->v6)
		sum = add_words(sum, &outer->v6->saddr, 8);
	sum = add_words(sum, outer->udp, (sizeof(struct udphdr) + sizeof(struct vxlan_header)) / 4);
	sum = add_words(sum, inner->ethernet, sizeof(struct ethhdr) / 4);
	sum += inner->ethernet->h_proto;
	if (inner->v4) {
		payload = (__u32)swap16(inner->v4->tot_len) - sizeof(struct iphdr);
		headers += sizeof(struct iphdr);
		pseudo = add_words(pseudo, &inner->v4->saddr, 2);
		sum = add_words(sum, inner->v4, sizeof(struct iphdr) / 4);
	} else if (inner->v6) {
		payload = swap16(inner->v6->payload_len);
		headers += sizeof(struct ipv6hdr);
		pseudo = add_words(pseudo, &inner->v6->saddr, 8);
		sum = add_words(sum, inner->v6, sizeof(struct ipv6hdr) / 4);
	}
	/* Padding behind the inner packet is covered outside and not inside. */
	if (headers + payload != outer->length)
		return 0;
	pseudo += swap16((__u16)payload);
	return fold(sum + (fold(pseudo) ^ 0xffff)) == 0xffff;
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

static ALWAYS_INLINE void set_ecn(struct inner *inner, __u8 ecn)
{
	if (inner->v4) {
		/* Incremental update of the header checksum, RFC 1624 equation 3. */
		__u8 before = inner->v4->tos, after = (before & ~3) | ecn;

		inner->v4->tos = after;
		inner->v4->check = ~fold((__u16)~inner->v4->check + (__u16)~swap16(before) +
					 swap16(after));
	} else if (inner->v6) {
		inner->v6->flow_lbl[0] = (inner->v6->flow_lbl[0] & ~0x30) | ecn << 4;
	}
}

#endif
