// SPDX-License-Identifier: GPL-2.0-only
/*
 * The datapath in user space: the kernel's own programs, NIC stage and worker stage, frame by frame, over
 * maps that are arrays of this object. Called by the packet engine's threads (prototype/engine.py).
 */
#include "bcc.h"
#include "../steer.bpf.c"
#include "../deliver.bpf.c"
#include "fault.h"
#include "frame.h"

#include <time.h>

/* Part of the text, so that another compiler makes another object. */
const char compiled_by[] = __VERSION__;

struct fault found_fault; /* after FRAME_FAULT */

static struct xdp_md context_of(__u8 *buffer, const struct frame *frame)
{
	__u64 data = (__u64)buffer + frame->at;

	return (struct xdp_md){ data, data + frame->length, data, data, 0 };
}

/* The NIC stage. A slot is left in the proof, as it is for the kernel's workers. */
__u32 steer_frame(__u8 *buffer, struct frame *frame)
{
	struct xdp_md ctx = context_of(buffer, frame);
	int verdict;

	this_core = 0;
	this_time = frame->time;
	if (__builtin_setjmp(before_decision)) {
		found_fault = take_fault();
		return frame->fate = FRAME_FAULT;
	}
	verdict = steer(&ctx);
	frame->at = ctx.data - (__u64)buffer;
	frame->length = ctx.data_end - ctx.data;
	if (ctx.data_meta < ctx.data)
		frame->fate = ((struct proof *)ctx.data_meta)->slot;
	else
		frame->fate = verdict == XDP_PASS ? FRAME_PASSED : FRAME_DROPPED;
	return frame->fate;
}

static __u64 sum_of(const __u8 *at, __u32 length)
{
	__u64 sum = 0;
	__u32 rest = 0;

	for (; length >= sizeof(rest); length -= sizeof(rest), at += sizeof(rest))
		sum += AT(__u32, at);
	__builtin_memcpy(&rest, at, length);
	return sum + rest;
}

/* What the container's stack will do first: check lengths and checksums, and find the flow. */
static void examine(struct frame *frame, struct cursor cursor)
{
	struct inner inner = {};
	__u64 sum, room;
	__u32 length;

	parse_inner(&cursor, &inner); /* the NIC stage has taken it */
	frame->flow = flow_hash(&inner);
	sum = swap16(inner.protocol);
	if (inner.v4) {
		length = (__u32)swap16(inner.v4->tot_len) - sizeof(struct iphdr);
		sum = add_words(sum, &inner.v4->saddr, 2);
	} else {
		length = swap16(inner.v6->payload_len);
		sum = add_words(sum, &inner.v6->saddr, 8);
	}
	room = cursor.end - (void *)inner.ports;
	frame->damaged = length > room || (inner.v4 && !whole_v4(inner.v4));
	if (frame->damaged || !inner.has_checksum)
		return;
	sum += swap16((__u16)length) + sum_of((void *)inner.ports, length);
	frame->damaged = fold(sum) != 0xffff;
}

/* The worker stage, on the core of a slot; on the NIC's own (0) there is no program before the stack. */
void deliver_frame(__u8 *buffer, struct frame *frame, __u32 slot)
{
	struct xdp_md ctx = context_of(buffer, frame);

	this_core = slot;
	ctx.data_meta = ctx.data - sizeof(struct proof);
	if (slot != LOCAL_SLOT && deliver(&ctx) == XDP_DROP)
		frame->fate = FRAME_DROPPED;
	else
		examine(frame, (struct cursor){ (void *)ctx.data, (void *)ctx.data_end });
}

/* Which NIC, tunnel and container a frame names, whoever they are. */
static void name_frame(__u8 *buffer, const struct frame *frame, struct named *named)
{
	struct xdp_md ctx = context_of(buffer, frame);
	struct cursor cursor = { (void *)ctx.data, (void *)ctx.data_end };
	struct settings own = {};
	struct outer outer = {};
	struct inner inner = {};

	if (frame->length < ETH_HLEN || !one_host(cursor.at))
		return;
	__builtin_memcpy(own.mac, cursor.at, ETH_ALEN);
	if (parse_outer(&cursor, &outer, &own) || parse_inner(&cursor, &inner) ||
	    !one_host(inner.ethernet->h_dest))
		return;
	__builtin_memcpy(named->mac, own.mac, ETH_ALEN);
	named->tunnel = tunnel_of(&outer);
	named->endpoint.vni = outer.vni;
	named->endpoint.port = outer.port;
	__builtin_memcpy(named->endpoint.mac, inner.ethernet->h_dest, ETH_ALEN);
	named->whole = 1;
}

void name_frames(__u8 *buffer, const struct frame *frames, __u64 count, struct named *named)
{
	for (__u64 i = 0; i < count; i++)
		name_frame(buffer, &frames[i], &named[i]);
}

/* ns, monotonic. */
__u64 clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}
