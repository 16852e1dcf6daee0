/* SPDX-License-Identifier: GPL-2.0-only
 *
 * A cursor over a packet.
 * Contract: take() returns the next `size` bytes and moves on, or NULL when the packet ends first;
 * what it returned may be read without another check. Pure: compiles for the host too.
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

static ALWAYS_INLINE __u16 swap16(__u16 value)
{
	return __builtin_bswap16(value);
}

static ALWAYS_INLINE __u32 swap32(__u32 value)
{
	return __builtin_bswap32(value);
}

/* A number that stands at any even address, in the middle of whatever it is. */
#define AT(type, place) (*(const type __attribute__((may_alias)) *)(place))

/* The kernel's struct is packed, which would make it two bytes to load. */
static ALWAYS_INLINE __be16 protocol_of(const struct ethhdr *ethernet)
{
	return AT(__be16, ethernet->h_source + ETH_ALEN);
}

/* BPF has no memcmp(). */
static ALWAYS_INLINE int same_mac(const __u8 *a, const __u8 *b)
{
	return !((AT(__u32, a) ^ AT(__u32, b)) | (AT(__u16, a + 4) ^ AT(__u16, b + 4)));
}

/* Whether a frame may come from this address: neither a group's nor zero. */
static ALWAYS_INLINE int one_host(const __u8 *mac)
{
	return !(mac[0] & 1) && (AT(__u32, mac) | AT(__u16, mac + 4));
}

/* The ones' complement sum (RFC 1071) of `words` 32-bit words at an even address, added to `sum`,
 * which 64 bits hold unfolded. Order of bytes and width of words do not matter to it. */
static ALWAYS_INLINE __u64 add_words(__u64 sum, const void *header, __u32 words)
{
	const __u32 *word = header;

#pragma unroll
	for (__u32 i = 0; i < words; i++)
		sum += word[i];
	return sum;
}

/* To 16 bits. */
static ALWAYS_INLINE __u64 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* Whether an IPv4 header without options is whole: its sum is zero, which is 0xffff as well. */
static ALWAYS_INLINE int whole_v4(const void *header)
{
	__u64 sum = (__u64)AT(__u32, header) + AT(__u32, header + 4) + AT(__u32, header + 8) +
		    AT(__u32, header + 12) + AT(__u32, header + 16);

	/* Below 3 * 2^16; of these only 0xffff and 0x1fffe end as 0xffff. */
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

#endif
