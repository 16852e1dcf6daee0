// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TCP wire: goes on with connections that an ordinary socket has opened. `wire_tcp` makes segments,
 * as wire.bpf.c makes datagrams, for as long as the receiver's window allows; `acks` stands on wire0,
 * reads the acknowledgements, and drops them. It measures the receiver: duplicate acknowledgements
 * mean nothing to it, and there is no congestion window. No progress for some time sends it back to
 * what was acknowledged.
 */
#include "pace.h"
#include "parse.h"
#include "wire_tcp.h"

#define TIMESTAMP_AT (TCP_AT + 24) /* after NOP, NOP, kind and length: as Linux writes it */
#define CHECK_AT (TCP_AT + 16)
#define MAY_FIN 1
#define MAY_SYN 2
#define MAY_RST 4
#define OPTION_SACK 5

BPF_ARRAY(tcp_wire, struct tcp_wire, 1);
BPF_ARRAY(tcp_flows, struct tcp_flow, TCP_WIRE_MAX_FLOWS);
BPF_ARRAY(tcp_peers, struct tcp_peer, TCP_WIRE_MAX_FLOWS);
BPF_ARRAY(tcp_order, __u32, TCP_WIRE_MAX_FLOWS); /* flows as they take turns, thread by thread */

/* Where the segment starts that this place is in. */
static ALWAYS_INLINE __u64 segment_at(__u64 place, const struct tcp_wire *wire)
{
	return wire->segment ? place - place % wire->segment : place;
}

/* Nothing was acknowledged for long: go back. Returns 1 when the last segment has to ask for the window,
 * which is shut and of which no more is heard (RFC 9293, section 3.8.6.1). */
static ALWAYS_INLINE int go_back(struct tcp_flow *flow, __u64 edge, const struct tcp_wire *wire,
				 struct wire_counters *counters)
{
	if (flow->seen < flow->most) {
		counters->count[WIRE_REWOUND]++;
		flow->next = segment_at(flow->seen, wire);
	}
	if (flow->next + wire->segment <= edge || flow->next < wire->segment)
		return 0;
	counters->count[WIRE_PROBES]++;
	return 1;
}

/* What is to be done to a frame on purpose: nothing, or one of these. */
enum mishap {
	MISHAP_NONE,
	MISHAP_LOST,
	MISHAP_DOUBLED,
	MISHAP_OVERTAKEN
};

static ALWAYS_INLINE enum mishap mishap(struct wire_state *state, const struct tcp_wire *wire)
{
	__u32 drawn;

	if (!(wire->lost | wire->doubled | wire->overtaken))
		return MISHAP_NONE;
	draw(state);
	drawn = state->random >> (32 - TCP_WIRE_SHARE);
	if (drawn < wire->lost)
		return MISHAP_LOST;
	drawn -= wire->lost;
	if (drawn < wire->doubled)
		return MISHAP_DOUBLED;
	return drawn - wire->doubled < wire->overtaken ? MISHAP_OVERTAKEN : MISHAP_NONE;
}

/* What a mishap makes of a segment: its place, or that of none (-1). */
static ALWAYS_INLINE __s64 befallen(struct tcp_flow *flow, __u64 place, enum mishap mishap,
				    struct wire_counters *counters)
{
	if (mishap == MISHAP_LOST) {
		counters->count[WIRE_LOST]++;
		return -1;
	}
	if (mishap == MISHAP_DOUBLED) {
		counters->count[WIRE_DOUBLED]++;
		flow->next = place;
	}
	if (mishap == MISHAP_OVERTAKEN && !flow->hold) {
		counters->count[WIRE_OVERTAKEN]++;
		flow->held = place;
		flow->hold = 4;
		return -1;
	}
	return place;
}

/* Place of the segment to send now, or -1: none. */
static ALWAYS_INLINE __s64 next_segment(struct tcp_flow *flow, struct tcp_peer *peer,
					const struct tcp_wire *wire, struct wire_state *state,
					struct wire_counters *counters)
{
	__u64 acked = READ_SHARED(peer->acked), edge = READ_SHARED(peer->edge), place;

	if (flow->hold && !--flow->hold)
		return flow->held;
	if (acked != flow->seen || !flow->since) {
		flow->seen = acked;
		flow->since = state->now;
		if (flow->next < acked)
			flow->next = segment_at(acked, wire);
	} else if (state->now - flow->since > wire->patience) {
		flow->since = state->now;
		if (go_back(flow, edge, wire, counters))
			return flow->next - wire->segment;
	}
	place = flow->next;
	if (place + wire->segment > edge || peer->ended || (wire->ending && place >= flow->most))
		return -1;
	if (place < flow->most)
		counters->count[WIRE_RESENT]++;
	flow->next = place + wire->segment;
	if (flow->most < flow->next)
		flow->most = flow->next;
	return befallen(flow, place, mishap(state, wire), counters);
}

/* Sum of the two halves of a word. */
static ALWAYS_INLINE __u32 halves(__u32 word)
{
	return (word & 0xffff) + (word >> 16);
}

/* Headers, payload stamp, TCP checksum. */
static ALWAYS_INLINE void fill(__u64 *words, const struct tcp_flow *flow, __u64 place, __u64 intended,
			       __u64 age)
{
	__u8 *frame = (__u8 *)words;
	struct tcp_stamp *stamp = (void *)(frame + HEADER_BYTES);
	__u32 sequence = swap32(flow->first + (__u32)place);
	__u32 sum = flow->sum + halves(sequence);

	__builtin_memcpy(words, flow->words, HEADER_BYTES);
	*(__u32 *)(frame + TCP_AT + 4) = sequence;
	if (HEADER_BYTES > TCP_AT + 20) {
		__u32 time = swap32(flow->stamp + (__u32)(age / 1000000));

		*(__u32 *)(frame + TIMESTAMP_AT) = time;
		sum += halves(time);
	}
	stamp->place = place;
	stamp->intended = intended;
	sum += halves((__u32)place) + halves((__u32)(place >> 32)) + halves((__u32)intended) +
	       halves((__u32)(intended >> 32));
	*(__u16 *)(frame + CHECK_AT) = (__u16)~fold(sum);
}

int wire_tcp(struct xdp_md *ctx)
{
	__u64 *frame = (void *)(long)ctx->data;
	__u32 zero = 0;
	struct wire_counters *counters = wire_counters.lookup(&zero);
	struct wire_settings *setting = wire_settings.lookup(&zero);
	struct wire_state *state = wire_state.lookup(&zero);
	struct tcp_wire *wire = tcp_wire.lookup(&zero);
	struct tcp_flow *flow;
	struct tcp_peer *peer;
	__u64 intended;
	__s64 place = -1;
	__u32 index, *number;

	if (!counters || !setting || !state || !wire)
		return XDP_ABORTED;
	if ((__u8 *)frame + HEADER_BYTES + sizeof(struct tcp_stamp) > (__u8 *)(long)ctx->data_end)
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
	number = tcp_order.lookup(&index);
	if (!number)
		return XDP_ABORTED;
	index = *number;
	flow = tcp_flows.lookup(&index);
	peer = tcp_peers.lookup(&index);
	if (!flow || !peer)
		return XDP_ABORTED;
	if (peer->active)
		place = next_segment(flow, peer, wire, state, counters);
	if (place < 0) {
		counters->count[WIRE_BLOCKED]++;
		state->in_train = setting->train;
		return XDP_DROP;
	}
	index = draw(state);
	advance(state, setting, setting->random ? wire_gaps.lookup(&index) : 0);
	if (setting->gap && state->now > intended + setting->late)
		counters->count[WIRE_LATE]++;
	fill(frame, flow, place, intended, state->now - wire->epoch);
	state->sent++;
	counters->count[WIRE_SENT]++;
	return wire_port.redirect_map(0, 0);
}

/* Whether a frame on wire0 carries TCP where ours would: our own tunnel (TUNNEL_PORT, or 0: none), and
 * IP headers without options inside. */
static ALWAYS_INLINE int carries_tcp(const __u8 *frame)
{
	const __u8 *ip = frame + INNER_AT;

	if (TUNNEL_PORT && *(__be16 *)(frame + INNER_AT - 28) != swap16(TUNNEL_PORT))
		return 0;
	if (TCP_AT - INNER_AT == 20)
		return ip[0] == 0x45 && ip[9] == IPPROTO_TCP;
	return ip[0] >> 4 == 6 && ip[6] == IPPROTO_TCP;
}

/* Count what an acknowledgement says beyond its number: SACK, and D-SACK (RFC 2883: of what was
 * acknowledged already). Options as Linux writes them: timestamps first. */
static ALWAYS_INLINE void count_sack(const __u8 *tcp, const __u8 *end, __u32 acked,
				     struct wire_counters *counters)
{
	const __u8 *sack = tcp + (HEADER_BYTES - TCP_AT) + 2;

	if (sack + 10 > end || (tcp[12] >> 4) * 4 < HEADER_BYTES - TCP_AT + 12 ||
	    sack[0] != OPTION_SACK)
		return;
	counters->count[WIRE_SACKS]++;
	if ((__s32)(swap32(AT(__be32, sack + 6)) - acked) <= 0)
		counters->count[WIRE_DSACKS]++;
}

int acks(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 *tcp = frame + TCP_AT;
	__u32 zero = 0, index, acked;
	struct wire_counters *counters = wire_counters.lookup(&zero);
	struct tcp_wire *wire = tcp_wire.lookup(&zero);
	struct tcp_peer *peer;
	__u64 place, edge;

	if (!counters || !wire || tcp + 20 > end || !carries_tcp(frame))
		return XDP_PASS;
	index = swap16(AT(__be16, tcp + 2)) - wire->port;
	if (swap16(AT(__be16, tcp)) != wire->sink || index >= wire->flows)
		return XDP_PASS;
	peer = tcp_peers.lookup(&index);
	if (!peer || !peer->active || tcp[13] & MAY_SYN)
		return XDP_PASS;
	counters->count[WIRE_ACKS]++;
	if (tcp[13] & (MAY_FIN | MAY_RST))
		peer->ended = 1;
	acked = swap32(AT(__be32, tcp + 8));
	count_sack(tcp, end, acked, counters);
	/* The nearest place to the last one: forwards or, of an older acknowledgement, backwards. */
	place = peer->acked + (__s64)(__s32)(acked - peer->first - (__u32)peer->acked);
	edge = place + ((__u64)swap16(AT(__be16, tcp + 14)) << (peer->shift & 15));
	if ((__s64)(place - peer->acked) > 0)
		WRITE_SHARED(peer->acked, place);
	else if (edge == peer->edge)
		counters->count[WIRE_DUPLICATES]++;
	if ((__s64)(edge - peer->edge) > 0)
		WRITE_SHARED(peer->edge, edge);
	return XDP_DROP;
}
