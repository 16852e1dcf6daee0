// SPDX-License-Identifier: GPL-2.0-only
/*
 * The wire: run by BPF_PROG_TEST_RUN with live frames, each call makes one frame of the peer host and
 * puts it on wire0, or drops the buffer when nothing is due (pace.h). Frames are made whole every time,
 * for GRO rewrites headers in buffers that come back to us.
 */
#include "pace.h"
#include "stamp.h"

BPF_ARRAY(wire_flows, struct wire_flow, WIRE_MAX_FLOWS);

/* Headers, stamp and UDP checksum. */
static ALWAYS_INLINE void fill(__u64 *frame, struct wire_flow *flow, __u64 intended)
{
	struct stamp *stamp = (void *)((__u8 *)frame + HEADER_BYTES);
	__u16 *check = (void *)((__u8 *)frame + HEADER_BYTES - 2);
	__u32 sequence = flow->sequence++;
	__u32 sum = flow->sum + (sequence & 0xffff) + (sequence >> 16);

	__builtin_memcpy(frame, flow->words, HEADER_BYTES);
	stamp->run = flow->run;
	stamp->flow = flow->id;
	stamp->sequence = sequence;
	stamp->intended = intended;
	sum += (intended & 0xffff) + (intended >> 16 & 0xffff) + (intended >> 32 & 0xffff) +
	       (intended >> 48);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*check = sum == 0xffff ? 0xffff : (__u16)~sum;
}

int wire(struct xdp_md *ctx)
{
	__u64 *frame = (void *)(long)ctx->data;
	__u32 zero = 0;
	struct wire_counters *counters = wire_counters.lookup(&zero);
	struct wire_settings *setting = wire_settings.lookup(&zero);
	struct wire_state *state = wire_state.lookup(&zero);
	struct wire_flow *flow;
	__u64 intended;
	__u32 index;

	if (!counters || !setting || !state)
		return XDP_ABORTED;
	if ((__u8 *)frame + HEADER_BYTES + sizeof(struct stamp) > (__u8 *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (state->turn == 0)
		begin_batch(state, counters);
	intended = state->sent < setting->limit ? due(state, setting) : 0;
	if (++state->turn >= setting->batch)
		state->turn = 0;
	if (!intended) {
		counters->count[WIRE_IDLE]++;
		return XDP_DROP;
	}
	index = next_flow(state, setting);
	flow = wire_flows.lookup(&index);
	if (!flow)
		return XDP_ABORTED;
	index = draw(state);
	advance(state, setting, setting->random ? wire_gaps.lookup(&index) : 0);
	if (setting->gap && state->now > intended + setting->late)
		counters->count[WIRE_LATE]++;
	fill(frame, flow, intended);
	state->sent++;
	counters->count[WIRE_SENT]++;
	return wire_port.redirect_map(0, 0);
}
