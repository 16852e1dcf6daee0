/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Outer headers of a VXLAN packet (RFC 7348), and their congestion marks (RFC 6040).
 * Contract: each stage returns 0 and leaves the cursor behind what it read, or the steer_counter
 * under which the frame goes to the stock path. Pure: compiles for the host too.
 */
#ifndef OVERSPRAY_VXLAN_H
#define OVERSPRAY_VXLAN_H

#include "counters.h"
#include "maps.h"
#include "parse.h"

#define VXLAN_FLAGS_VNI 0x08000000U
#define IP_FRAGMENT 0x3fff /* more fragments, or an offset */
#define IPV6_FIXED 40

struct vxlan_header {
	__be32 flags;
	__be32 vni;
};

struct tunnel_headers {
	struct udphdr udp;
	struct vxlan_header vxlan;
};

struct outer {
	struct ethhdr *ethernet;
	struct iphdr *v4;    /* one of the two */
	struct ipv6hdr *v6;
	struct udphdr *udp;
	__u64 vni;
	__u64 port;
	__u64 length;        /* of the UDP datagram */
	__u8 ecn;
};

static ALWAYS_INLINE int parse_outer_v4(struct cursor *cursor, struct outer *outer)
{
	__u64 room = cursor->end - cursor->at;
	struct iphdr *ip = take(cursor, struct iphdr);

	if (!ip)
		return STEER_PASS_LENGTH;
	if (ip->version != 4 || ip->ihl != 5)
		return STEER_PASS_OPTIONS;
	if (ip->frag_off & swap16(IP_FRAGMENT))
		return STEER_PASS_FRAGMENT;
	if (ip->protocol != IPPROTO_UDP)
		return STEER_PASS_OTHER;
	if (swap16(ip->tot_len) != room)
		return STEER_PASS_LENGTH;
	if (!whole_v4(ip))
		return STEER_PASS_CHECKSUM;
	outer->ecn = ip->tos & 3;
	outer->v4 = ip;
	return 0;
}

/* What an IPv6 header says that is followed by an extension header and not by the packet itself. */
static ALWAYS_INLINE int extension(__u8 next)
{
	if (next == IPPROTO_FRAGMENT)
		return STEER_PASS_FRAGMENT;
	if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS)
		return STEER_PASS_OPTIONS;
	return 0;
}

static ALWAYS_INLINE int parse_outer_v6(struct cursor *cursor, struct outer *outer)
{
	__u64 room = cursor->end - cursor->at;
	struct ipv6hdr *ip = take(cursor, struct ipv6hdr);
	int verdict;

	if (!ip)
		return STEER_PASS_LENGTH;
	if (ip->version != 6)
		return STEER_PASS_OTHER;
	verdict = extension(ip->nexthdr);
	if (verdict)
		return verdict;
	if (ip->nexthdr != IPPROTO_UDP)
		return STEER_PASS_OTHER;
	if ((__u64)swap16(ip->payload_len) + IPV6_FIXED != room)
		return STEER_PASS_LENGTH;
	outer->ecn = (ip->flow_lbl[0] >> 4) & 3;
	outer->v6 = ip;
	return 0;
}

static ALWAYS_INLINE int parse_tunnel(struct cursor *cursor, struct outer *outer)
{
	__u64 room = cursor->end - cursor->at;
	struct tunnel_headers *tunnel = take(cursor, struct tunnel_headers);

	if (!tunnel || swap16(tunnel->udp.len) != room)
		return STEER_PASS_LENGTH;
	if (tunnel->vxlan.flags != swap32(VXLAN_FLAGS_VNI) || tunnel->vxlan.vni & swap32(0xff))
		return STEER_PASS_FLAGS;
	outer->length = room;
	outer->udp = &tunnel->udp;
	outer->vni = swap32(tunnel->vxlan.vni) >> 8;
	outer->port = swap16(tunnel->udp.dest);
	return 0;
}

/* From the Ethernet header to behind the VXLAN header. */
static ALWAYS_INLINE int parse_outer(struct cursor *cursor, struct outer *outer,
				     const struct settings *settings)
{
	struct ethhdr *ethernet = take(cursor, struct ethhdr);
	int verdict;

	if (!ethernet)
		return STEER_PASS_LENGTH;
	outer->ethernet = ethernet;
	if (!same_mac(ethernet->h_dest, settings->mac))
		return STEER_PASS_OTHER;
	if (protocol_of(ethernet) == swap16(ETH_P_IP))
		verdict = parse_outer_v4(cursor, outer);
	else if (protocol_of(ethernet) == swap16(ETH_P_IPV6))
		verdict = parse_outer_v6(cursor, outer);
	else
		return STEER_PASS_OTHER;
	return verdict ? verdict : parse_tunnel(cursor, outer);
}

/* The tunnel that the outer headers name. */
static ALWAYS_INLINE struct tunnel_key tunnel_of(const struct outer *outer)
{
	struct tunnel_key key = { .vni = outer->vni, .port = outer->port };

	if (outer->v4) {
		key.local[2] = swap32(0xffff);
		key.local[3] = outer->v4->daddr;
		key.remote[2] = swap32(0xffff);
		key.remote[3] = outer->v4->saddr;
	} else if (outer->v6) {
		__builtin_memcpy(key.local, &outer->v6->daddr, sizeof(key.local));
		__builtin_memcpy(key.remote, &outer->v6->saddr, sizeof(key.remote));
		key.bare = !outer->udp->check;
	}
	return key;
}

/* Whether an address is ::ffff:a.b.c.d with this a.b.c.d: 0, or the bits in which it differs. */
static ALWAYS_INLINE __u64 unlike_v4(const __be32 *mapped, __be32 address)
{
	return AT(__u64, mapped) | (mapped[2] ^ swap32(0xffff)) | (mapped[3] ^ address);
}

static ALWAYS_INLINE __u64 unlike_v6(const __be32 *a, const struct in6_addr *b)
{
	const __be32 *other = b->in6_u.u6_addr32;

	return (AT(__u64, a) ^ AT(__u64, other)) | (AT(__u64, a + 2) ^ AT(__u64, other + 2));
}

/* Whether the outer source is this address. */
static ALWAYS_INLINE int is_remote(const __be32 *address, const struct outer *outer)
{
	if (outer->v4)
		return !unlike_v4(address, outer->v4->saddr);
	return outer->v6 && !unlike_v6(address, &outer->v6->saddr);
}

/* Whether the outer headers name this tunnel: same as a comparison with tunnel_of(), but cheaper. */
static ALWAYS_INLINE int is_tunnel(const struct tunnel_key *key, const struct outer *outer)
{
	__u64 unlike = (key->vni ^ outer->vni) | (key->port ^ outer->port);

	if (outer->v4)
		return !(unlike | key->bare | unlike_v4(key->local, outer->v4->daddr) |
			 unlike_v4(key->remote, outer->v4->saddr));
	if (outer->v6)
		return !(unlike | (key->bare ^ !outer->udp->check) |
			 unlike_v6(key->local, &outer->v6->daddr) |
			 unlike_v6(key->remote, &outer->v6->saddr));
	return 0;
}

#endif
