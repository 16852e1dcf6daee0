/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Outer headers of a VXLAN packet (RFC 7348), over either IP version.
 * Contract: returns 0 and leaves the cursor behind the VXLAN header, or the steer_counter under which the
 * frame goes to the stock path. Pure.
 */
#ifndef OVERSPRAY_VXLAN_H
#define OVERSPRAY_VXLAN_H

#include "counters.h"
#include "ip.h"
#include "maps.h"
#include "parse.h"

#define VXLAN_HAS_VNI 0x08000000U

struct vxlan_header {
	__be32 flags;
	__be32 vni; /* 24 bits of VNI, 8 reserved */
};

struct tunnel_headers {
	struct udphdr udp;
	struct vxlan_header vxlan;
};

struct outer {
	struct ip ip;
	struct tunnel_headers *tunnel;
};

/* What is to be taken off. */
static ALWAYS_INLINE int outer_bytes(bool is6)
{
	return sizeof(struct ethhdr) + sizeof(struct tunnel_headers) +
	       (UNLIKELY(is6) ? sizeof(struct ip6_header) : sizeof(struct iphdr));
}

static ALWAYS_INLINE int parse_outer(struct cursor *cursor, struct outer *found, const __u8 *mac)
{
	struct ethhdr *ethernet = take(cursor, struct ethhdr);
	struct tunnel_headers *tunnel;
	int verdict;

	if (!ethernet)
		return STEER_PASS_LENGTH;
	if (!is_ip(protocol_of(ethernet)) || !same_mac(ethernet->h_dest, mac))
		return is_tagged(ethernet) ? STEER_PASS_VLAN : STEER_PASS_OTHER;
	verdict = parse_ip(cursor, protocol_of(ethernet), &found->ip);
	if (verdict)
		return verdict;
	if (found->ip.protocol != PROTO_UDP)
		return STEER_PASS_OTHER;
	if (found->ip.length != (__u64)(cursor->end - cursor->at))
		return STEER_PASS_LENGTH;
	tunnel = take(cursor, struct tunnel_headers);
	if (!tunnel || bpf_ntohs(tunnel->udp.len) != found->ip.length)
		return STEER_PASS_LENGTH;
	if (!is_whole(&found->ip))
		return STEER_PASS_CHECKSUM;
	if (tunnel->vxlan.flags != bpf_htonl(VXLAN_HAS_VNI) || tunnel->vxlan.vni & bpf_htonl(0xff))
		return STEER_PASS_FLAGS;
	found->tunnel = tunnel;
	return 0;
}

#endif
