/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The inner frame: whom it is for, which flow it belongs to, and what its checksum says.
 * Contract: as vxlan.h. Only plain UDP and TCP over plain IP is classified; what the container's own
 * stack checks anyway (inner lengths and checksums) is left to it.
 */
#ifndef OVERSPRAY_FLOW_H
#define OVERSPRAY_FLOW_H

#include "vxlan.h"

#define ECN_ECT_1 1
#define ECN_CE 3
#define TCP_BYTES 20
#define TCP_FLAGS 13 /* where they are */

/* What UDP and TCP begin with. */
struct layer4 {
	__be16 ports[2]; /* source, destination */
	__be16 length;   /* UDP */
	__be16 check;    /* UDP */
};

struct inner {
	struct ethhdr *ethernet;
	struct ip ip;
	struct layer4 *layer4;
	__u8 flags; /* TCP's; 0 of UDP */
};

static ALWAYS_INLINE int parse_inner(struct cursor *cursor, struct inner *found)
{
	struct ethhdr *ethernet = take(cursor, struct ethhdr);
	struct layer4 *layer4;
	int verdict;

	if (!ethernet)
		return STEER_PASS_LENGTH;
	/* A bridge drops what no host can have sent. */
	if (!is_ip(protocol_of(ethernet)) || !is_host(ethernet->h_source))
		return is_tagged(ethernet) ? STEER_PASS_VLAN : STEER_PASS_INNER;
	verdict = parse_ip(cursor, protocol_of(ethernet), &found->ip);
	if (verdict)
		return verdict;
	layer4 = take(cursor, struct layer4);
	if (!layer4)
		return STEER_PASS_LENGTH;
	if (found->ip.protocol == PROTO_TCP) {
		if ((void *)layer4 + TCP_BYTES > cursor->end)
			return STEER_PASS_LENGTH;
		found->flags = AT(__u8, (void *)layer4 + TCP_FLAGS);
	} else if (found->ip.protocol != PROTO_UDP) {
		return STEER_PASS_INNER;
	}
	found->ethernet = ethernet;
	found->layer4 = layer4;
	return 0;
}

/* A hash of the inner 5-tuple: two multiplications side by side, folded and mixed by a third. Odd
 * multipliers without structure: the 64-bit golden ratio, and the root of 3. The halves of IPv6 addresses are
 * mixed in turn; a product's high bits depend on most, so they become the low ones of the next. */
static ALWAYS_INLINE __u32 flow_hash(const struct inner *inner)
{
	const __u64 golden = 0x9e3779b97f4a7c15ULL, other = 0xbb67ae8584caa73bULL;
	__u64 mix = 0;

	if (UNLIKELY(inner->ip.is6)) {
#pragma unroll
		for (int half = 0; half < 4; half++) {
			mix = (mix ^ AT(__u64, &inner->ip.v6->addresses[2 * half])) * golden;
			mix = mix << 32 | mix >> 32;
		}
	} else {
		mix = ((__u64)inner->ip.v4->saddr << 32 | inner->ip.v4->daddr) * golden;
	}
	mix ^= ((__u64)inner->ip.protocol << 32 | AT(__u32, inner->layer4->ports)) * other;
	mix ^= mix >> 32;
	mix *= golden;
	return (__u32)(mix >> 32);
}

/*
 * Is a non-zero outer UDP checksum right? Layer 4 of an intact inner packet sums up to the complement of
 * its own pseudo-header, so headers alone tell (the idea of local checksum offload, the kernel's
 * Documentation/networking/checksum-offloads.rst). A damaged payload is caught by the inner checksum.
 */
static ALWAYS_INLINE bool checksum_agrees(const struct outer *outer, const struct inner *inner)
{
	const struct ethhdr *ethernet = inner->ethernet;
	__u32 headers = (__u32)((void *)inner->layer4 - (void *)outer->tunnel);
	__u64 sum;

	/* The outer sum must cover what the inner one does and no more: padding behind the inner packet, or
	 * behind a datagram that ends before its packet, is covered outside alone. */
	if (headers + inner->ip.length != outer->ip.length)
		return false;
	if (inner->ip.protocol == PROTO_UDP &&
	    (!inner->layer4->check || inner->layer4->length != bpf_htons((__u16)inner->ip.length)))
		return false;
	/* Pseudo-header, UDP and VXLAN header, inner Ethernet and IP header. */
	sum = add_pseudo(0, &outer->ip);
	sum = add_words(sum, outer->tunnel, sizeof(*outer->tunnel) / 4);
	sum = add_words(sum, ethernet, sizeof(*ethernet) / 4);
	sum += ethernet->h_proto;
	sum = add_header(sum, &inner->ip);
	return folded(sum + (folded(add_pseudo(0, &inner->ip)) ^ 0xffff)) == 0xffff;
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

#endif
