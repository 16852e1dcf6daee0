/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Outer headers of a VXLAN packet (RFC 7348).
 * Contract: returns 0 and leaves the cursor behind the VXLAN header, or the steer_counter under which the
 * frame goes to the stock path. Pure.
 */
#ifndef OVERSPRAY_VXLAN_H
#define OVERSPRAY_VXLAN_H

#include "counters.h"
#include "maps.h"
#include "parse.h"

#define VXLAN_HAS_VNI 0x08000000U

struct vxlan_header {
	__be32 flags;
	__be32 vni; /* 24 bits of VNI, 8 reserved */
};

struct outer_headers {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct udphdr udp;
	struct vxlan_header vxlan;
} __attribute__((packed));

#define OUTER_BYTES 50
_Static_assert(sizeof(struct outer_headers) == OUTER_BYTES, "no padding");

static ALWAYS_INLINE int parse_outer(struct cursor *cursor, struct outer_headers **found, const __u8 *mac)
{
	struct ethhdr *ethernet = cursor->at;
	__u64 room = cursor->end - cursor->at;
	struct outer_headers *outer;

	if ((void *)(ethernet + 1) > cursor->end)
		return STEER_PASS_LENGTH;
	if (protocol_of(ethernet) != bpf_htons(ETH_P_IP) || !same_mac(ethernet->h_dest, mac))
		return is_tagged(ethernet) ? STEER_PASS_VLAN : STEER_PASS_OTHER;
	outer = take(cursor, struct outer_headers);
	if (!outer)
		return STEER_PASS_LENGTH;
	if (*(__u8 *)&outer->ip != 0x45)
		return STEER_PASS_OPTIONS;
	if (outer->ip.frag_off & bpf_htons(IP_FRAGMENT))
		return STEER_PASS_FRAGMENT;
	if (outer->ip.protocol != PROTO_UDP)
		return STEER_PASS_OTHER;
	room -= sizeof(*ethernet);
	if (bpf_ntohs(outer->ip.tot_len) != room || bpf_ntohs(outer->udp.len) != room - sizeof(outer->ip))
		return STEER_PASS_LENGTH;
	if (!is_whole(&outer->ip))
		return STEER_PASS_CHECKSUM;
	if (outer->vxlan.flags != bpf_htonl(VXLAN_HAS_VNI) || outer->vxlan.vni & bpf_htonl(0xff))
		return STEER_PASS_FLAGS;
	*found = outer;
	return 0;
}

#endif
