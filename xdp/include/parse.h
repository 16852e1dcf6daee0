/* SPDX-License-Identifier: GPL-2.0-only
 *
 * A cursor over a packet, and the Internet's checksum.
 * Contract: take() returns the next bytes and moves on, or NULL when the packet ends first; what it
 * returned may be read without another check. Pure.
 */
#ifndef OVERSPRAY_PARSE_H
#define OVERSPRAY_PARSE_H

#include "compat.h"

struct cursor {
	void *at;
	void *end;
};

/* A macro, for the verifier wants the size as a constant beside the comparison. */
#define take(cursor, type)                                                                  \
	({                                                                                  \
		type *taken_ = (cursor)->at;                                                \
		(void *)(taken_ + 1) > (cursor)->end ? (type *)0 :                          \
						       ((cursor)->at = taken_ + 1, taken_); \
	})

/* A number that stands at any even address, in the middle of whatever it is. */
#define AT(type, place) (*(const type __attribute__((may_alias)) *)(place))

static ALWAYS_INLINE __be16 protocol_of(const struct ethhdr *ethernet)
{
	return AT(__be16, ethernet->h_source + ETH_ALEN); /* the struct is packed: two loads otherwise */
}

static ALWAYS_INLINE bool is_tagged(const struct ethhdr *ethernet)
{
	__be16 protocol = protocol_of(ethernet);

	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

static ALWAYS_INLINE bool same_mac(const __u8 *a, const __u8 *b)
{
	return !((AT(__u32, a) ^ AT(__u32, b)) | (AT(__u16, a + 4) ^ AT(__u16, b + 4)));
}

/* Whether a frame may come from this address: neither a group's nor zero. */
static ALWAYS_INLINE bool is_host(const __u8 *mac)
{
	return !(mac[0] & 1) && (AT(__u32, mac) | AT(__u16, mac + 4));
}

/* The ones' complement sum (RFC 1071) of `words` 32-bit words at an even address, added to `sum`,
 * which 64 bits hold unfolded. Order of bytes and width of words do not matter to it. */
static ALWAYS_INLINE __u64 add_words(__u64 sum, const void *place, __u32 words)
{
#pragma unroll
	for (__u32 i = 0; i < words; i++)
		sum += AT(__u32, (const __u8 *)place + 4 * i);
	return sum;
}

/* To 16 bits. */
static ALWAYS_INLINE __u64 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

#endif
