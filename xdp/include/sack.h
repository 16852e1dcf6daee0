/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Selective acknowledgements (RFC 2018, RFC 2883) in a TCP header that ends the packet.
 * Contract: options are those that Linux, BSD and Windows write in an acknowledgement: NOPs, one
 * timestamp, one SACK. What has others is not understood (-1), and goes the stock way unchanged.
 */
#ifndef OVERSPRAY_SACK_H
#define OVERSPRAY_SACK_H

#include "flow.h"

#define OPTION_NOP 1
#define OPTION_SACK 5
#define OPTION_TIMESTAMP 8
#define SACK_MOST_BYTES 36 /* four blocks, two NOPs, kind and length */

struct sack {
	__u32 at;        /* of the option, from the start of the TCP header */
	__u32 blocks;
	__u32 duplicate; /* 1: the first block is a D-SACK */
};

/* Bytes from the IP header to the end of a packet that carries no payload, or 0. */
static ALWAYS_INLINE __u16 bare_length(const struct inner *inner, const __u8 *tcp)
{
	__u32 header = (tcp[12] >> 4) * 4, length = 0;

	if (inner->v4) {
		length = swap16(inner->v4->tot_len);
		return length == sizeof(struct iphdr) + header ? length : 0;
	}
	if (!inner->v6 || swap16(inner->v6->payload_len) != header)
		return 0;
	return sizeof(struct ipv6hdr) + header;
}

/* Find the SACK option of a TCP header of `bytes` that starts at `start`; returns 0, or -1. */
static ALWAYS_INLINE int find_sack(struct __sk_buff *skb, __u32 start, __u32 bytes, __u32 acked,
				   struct sack *sack)
{
	__u8 head[4];
	__be32 edge[4];
	__u32 at = sizeof(struct tcphdr);

	sack->at = sack->blocks = sack->duplicate = 0;
	if (at == bytes)
		return 0;
	if (at + 4 > bytes || bpf_skb_load_bytes(skb, start + at, head, 4))
		return -1;
	if (head[0] == OPTION_NOP && head[1] == OPTION_NOP && head[2] == OPTION_TIMESTAMP &&
	    head[3] == 10) {
		at += 12;
		if (at == bytes)
			return 0;
		if (at + 4 > bytes || bpf_skb_load_bytes(skb, start + at, head, 4))
			return -1;
	}
	if (head[0] != OPTION_NOP || head[1] != OPTION_NOP || head[2] != OPTION_SACK ||
	    head[3] < 10 || head[3] > 34 || at + 2 + head[3] != bytes)
		return -1;
	sack->at = at;
	sack->blocks = (head[3] - 2) / 8;
	if (bpf_skb_load_bytes(skb, start + at + 4, edge, 8))
		return -1;
	/* Below the acknowledgement, or inside the second block (RFC 2883, section 4). */
	sack->duplicate = (__s32)(swap32(edge[1]) - acked) <= 0;
	if (!sack->duplicate && sack->blocks > 1 &&
	    bpf_skb_load_bytes(skb, start + at + 12, edge + 2, 8) == 0)
		sack->duplicate = (__s32)(swap32(edge[0]) - swap32(edge[2])) >= 0 &&
				  (__s32)(swap32(edge[3]) - swap32(edge[1])) >= 0;
	return 0;
}

/* Make NOPs of the option, but keep a D-SACK; the checksum follows. Returns 0, or an error, and then
 * nothing has changed. */
static ALWAYS_INLINE int blank_sack(struct __sk_buff *skb, __u32 start, const struct sack *sack)
{
	const __be32 nops = 0x01010101;
	__u32 from = sack->at + (sack->duplicate ? 12 : 0), bytes = 4 + sack->blocks * 8;
	__be32 head, old;
	__u64 before = 0, after = 0;

	bytes -= sack->duplicate ? 12 : 0;
	if (!bytes)
		return -1;
	if (sack->duplicate) {
		head = swap32(OPTION_NOP << 24 | OPTION_NOP << 16 | OPTION_SACK << 8 | 10);
		if (bpf_skb_load_bytes(skb, start + sack->at, &old, 4) ||
		    bpf_l4_csum_replace(skb, start + 16, old, head, 4) ||
		    bpf_skb_store_bytes(skb, start + sack->at, &head, 4, 0))
			return -1;
	}
#pragma unroll
	for (__u32 i = 0; i < SACK_MOST_BYTES; i += 4) {
		if (i >= bytes)
			break;
		if (bpf_skb_load_bytes(skb, start + from + i, &old, 4) ||
		    bpf_skb_store_bytes(skb, start + from + i, &nops, 4, 0))
			break;
		before += old;
		after += nops;
	}
	/* The difference of two sums is the sum with the complement (RFC 1624). */
	return bpf_l4_csum_replace(skb, start + 16, 0, fold(after) + (fold(before) ^ 0xffff), 0);
}

#endif
