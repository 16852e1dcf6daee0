/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What the NIC saw of a TCP stream, in the order in which the wire had it, and how its sender is reached:
 * what back.bpf.c needs to know of the acknowledgements that come back.
 * Contract: places are in 64 bits, of which the lower half is the sequence number, so that nothing
 * wraps. One NIC core writes what the wire showed, any core what acknowledgements showed. Nothing here
 * is trusted: cores may race, two flows of one hash share an entry, and then too much is told to
 * the sender, never too little for longer than the time that settings.hold gives.
 */
#ifndef OVERSPRAY_TRACK_H
#define OVERSPRAY_TRACK_H

#include "flow.h"

#define FLAG_SYN 2

/* One cache line that the NIC core writes with every segment, one of what hardly changes. */
struct track {
	__u64 next;    /* behind the highest byte that came */
	__u64 gap;     /* the wire left something out before this place: until it is acknowledged, all is told */
	__u64 acked;   /* the highest acknowledgement that went back */
	__u64 since;   /* ns, monotonic: when the first duplicate of it came; 0: none has */
	__u64 lost;    /* packets that our queues had lost when we last looked */
	__u32 hash;
	__u32 endpoint; /* row */
	__u64 line[2];
	__u64 addresses; /* outer IPv4 source and destination, as the sender wrote them */
	__u32 vni;
	__u16 port;      /* UDP, host byte order; 0: no way back that we know */
	__u16 pad;
	__u8 macs[12];       /* outer Ethernet header: destination, source */
	__u8 inner_macs[12]; /* the same inside */
	__u64 way[3];
};

/* Where the TCP payload stands in the stream, and how long it is; 0: there is none. */
static ALWAYS_INLINE __u32 payload_of(const struct inner *inner, __u32 *sequence)
{
	const struct tcphdr *tcp = (const void *)inner->ports;
	__u32 headers = (AT(__u8, (const __u8 *)tcp + 12) >> 4) * 4, length = 0;

	if (inner->v4)
		length = (__u32)swap16(inner->v4->tot_len) - sizeof(struct iphdr);
	else if (inner->v6)
		length = swap16(inner->v6->payload_len);
	*sequence = swap32(AT(__be32, (const __u8 *)tcp + 4));
	return length > headers ? length - headers : 0;
}

/* The place that a 32-bit number means, near another place. */
static ALWAYS_INLINE __u64 near(__u64 place, __u32 number)
{
	return place + (__s64)(__s32)(number - (__u32)place);
}

/* How the sender is reached: as its frames came. */
static ALWAYS_INLINE void remember_way(struct track *track, const struct outer *outer,
				       const struct inner *inner)
{
	track->port = 0;
	__builtin_memcpy(track->macs, outer->ethernet, sizeof(track->macs));
	__builtin_memcpy(track->inner_macs, inner->ethernet, sizeof(track->inner_macs));
	if (!outer->v4)
		return;
	track->addresses = AT(__u64, &outer->v4->saddr);
	track->vni = (__u32)outer->vni;
	track->port = (__u16)outer->port;
}

/* Whether that is still so; of what a frame says of its way. */
static ALWAYS_INLINE int same_way(const struct track *track, const struct outer *outer,
				  const struct inner *inner)
{
	const __u8 *macs = outer->ethernet->h_dest;
	__u64 unlike = AT(__u64, track->macs) ^ AT(__u64, macs);

	unlike |= AT(__u32, track->macs + 8) ^ AT(__u32, macs + 8);
	unlike |= AT(__u64, track->inner_macs) ^ AT(__u64, inner->ethernet);
	unlike |= AT(__u32, track->inner_macs + 8) ^ AT(__u32, (const __u8 *)inner->ethernet + 8);
	if (!outer->v4)
		return !(unlike | track->port);
	unlike |= track->addresses ^ AT(__u64, &outer->v4->saddr);
	return !(unlike | (track->vni ^ outer->vni) | (track->port ^ outer->port));
}

/* A segment has come by. */
static ALWAYS_INLINE void follow_wire(struct track *track, const struct outer *outer,
				      const struct inner *inner, __u32 hash, __u32 endpoint)
{
	__u32 sequence, length = payload_of(inner, &sequence);
	__u64 place, end;

	if (UNLIKELY(inner->tcp_flags & FLAG_SYN))
		track->hash = 0; /* another stream between the same ends */
	if (!length || UNLIKELY(inner->tcp_flags & FLAG_SYN))
		return;
	if (UNLIKELY(track->hash != hash)) {
		track->next = track->acked = ((__u64)1 << 32) + sequence;
		track->gap = track->next + 1; /* what came before is not known */
		track->hash = hash;
	}
	if (UNLIKELY(!same_way(track, outer, inner)))
		remember_way(track, outer, inner);
	track->endpoint = endpoint;
	place = near(track->next, sequence);
	end = place + length;
	if (UNLIKELY((__s64)(place - track->next) > 0))
		WRITE_SHARED(track->gap, end);
	if ((__s64)(end - track->next) > 0)
		WRITE_SHARED(track->next, end);
}

#endif
