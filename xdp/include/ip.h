/* SPDX-License-Identifier: GPL-2.0-only
 *
 * An IP header of either version: where it is, and what both say alike.
 * Contract: parse_ip() returns 0 and leaves the cursor behind the header, or the steer_counter under which the
 * frame goes to the stock path: options, extension headers and fragments are not ours. Pure.
 */
#ifndef OVERSPRAY_IP_H
#define OVERSPRAY_IP_H

#include "counters.h"
#include "parse.h"

#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_FRAGMENT 44  /* IPv6 */
#define IP_FRAGMENT 0x3fff /* IPv4: more fragments, or an offset */

struct ip6_header {
	__be32 first;  /* version, traffic class, flow label */
	__be16 length; /* of what is behind this header */
	__u8 next;
	__u8 hops;
	__be32 addresses[8]; /* source; from the fifth word on destination */
};

struct ip {
	union {
		struct iphdr *v4;
		struct ip6_header *v6;
		__u8 *bytes;
	};
	bool is6;
	__u8 protocol;
	__u32 length; /* of what is behind the header, as that says; a total below the header makes it huge */
};

static ALWAYS_INLINE bool is_ip(__be16 protocol)
{
	return LIKELY(protocol == bpf_htons(ETH_P_IP)) || protocol == bpf_htons(ETH_P_IPV6);
}

/* Extension headers that another header follows in the clear (IANA's registry of them, without ESP). */
static ALWAYS_INLINE bool is_extension(__u8 next)
{
	return next == 0 || next == 43 || next == 51 || next == 60 || next == 135 || next == 139 || next == 140;
}

static ALWAYS_INLINE int parse_ip6(struct cursor *cursor, struct ip *found)
{
	struct ip6_header *ip = take(cursor, struct ip6_header);

	if (!ip)
		return STEER_PASS_LENGTH;
	if ((*(__u8 *)ip & 0xf0) != 0x60 || is_extension(ip->next))
		return STEER_PASS_OPTIONS;
	if (ip->next == PROTO_FRAGMENT)
		return STEER_PASS_FRAGMENT;
	found->v6 = ip;
	found->is6 = true;
	found->protocol = ip->next;
	found->length = bpf_ntohs(ip->length);
	return 0;
}

/* `protocol` is the Ethernet header's, of which is_ip() is true. */
static ALWAYS_INLINE int parse_ip(struct cursor *cursor, __be16 protocol, struct ip *found)
{
	struct iphdr *ip;

	if (UNLIKELY(protocol != bpf_htons(ETH_P_IP)))
		return parse_ip6(cursor, found);
	ip = take(cursor, struct iphdr);
	if (!ip)
		return STEER_PASS_LENGTH;
	if (*(__u8 *)ip != 0x45)
		return STEER_PASS_OPTIONS;
	if (ip->frag_off & bpf_htons(IP_FRAGMENT))
		return STEER_PASS_FRAGMENT;
	found->v4 = ip;
	found->is6 = false;
	found->protocol = ip->protocol;
	found->length = (__u32)bpf_ntohs(ip->tot_len) - sizeof(*ip);
	return 0;
}

/* An IPv4 header without options is whole when it sums to minus zero; IPv6 has no sum of its own. */
static ALWAYS_INLINE bool is_whole(const struct ip *ip)
{
	return UNLIKELY(ip->is6) || folded(add_words(0, ip->v4, sizeof(*ip->v4) / 4)) == 0xffff;
}

static ALWAYS_INLINE __u64 add_header(__u64 sum, const struct ip *ip)
{
	return UNLIKELY(ip->is6) ? add_words(sum, ip->v6, sizeof(*ip->v6) / 4) :
				   add_words(sum, ip->v4, sizeof(*ip->v4) / 4);
}

/* The pseudo-header (RFC 768; RFC 8200, section 8.1) of what is behind this header. */
static ALWAYS_INLINE __u64 add_pseudo(__u64 sum, const struct ip *ip)
{
	sum += (__u64)bpf_htons(ip->protocol) + bpf_htons((__u16)ip->length);
	return UNLIKELY(ip->is6) ? add_words(sum, ip->v6->addresses, 8) : add_words(sum, &ip->v4->saddr, 2);
}

/* The congestion mark: the low bits of the TOS, or of the traffic class, which ends in the same byte. */
static ALWAYS_INLINE __u8 ecn_in(const struct ip *ip)
{
	return (UNLIKELY(ip->is6) ? ip->bytes[1] >> 4 : ip->bytes[1]) & 3;
}

/* In IPv4 with an incremental update of the header checksum, RFC 1624 equation 3. */
static ALWAYS_INLINE void set_ecn(const struct ip *ip, __u8 ecn)
{
	__u8 before = ip->bytes[1], after = (before & ~3) | ecn;

	if (ip->is6) {
		ip->bytes[1] = (before & ~0x30) | (__u8)(ecn << 4);
		return;
	}
	ip->bytes[1] = after;
	ip->v4->check = ~folded((__u64)(__u16)~ip->v4->check + (__u16)~bpf_htons(before) + bpf_htons(after));
}

#endif
