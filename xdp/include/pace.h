/* SPDX-License-Identifier: GPL-2.0-only
 *
 * When a wire's next frame leaves, and of which flow it is.
 * Contract: declares the maps that all wires have; their look-ups stand in the programs, for bcc
 * rewrites no others. Arrivals are open-loop: a packet has an intended
 * time whatever the receiver does. They are released in bursts as an interrupt-moderated NIC does:
 * once the first has waited `hold` ns, all that are due. A release starts at the first call of a
 * kernel batch, so that a batch is one burst.
 */
#ifndef OVERSPRAY_PACE_H
#define OVERSPRAY_PACE_H

#include "compat.h"
#include "counters.h"
#include "wire.h"

struct wire_counters {
	__u64 count[WIRE_COUNTERS];
};

BPF_PERCPU_ARRAY(wire_settings, struct wire_settings, 1);
BPF_PERCPU_ARRAY(wire_state, struct wire_state, 1);
BPF_PERCPU_ARRAY(wire_counters, struct wire_counters, 1);
BPF_ARRAY(wire_gaps, __u32, WIRE_GAPS);
BPF_XDP_REDIRECT_MAP("devmap", struct bpf_devmap_val, wire_port, 1);

/* A kernel batch begins. One that sent nothing was a wait; a longer lapse was somebody else's. */
static ALWAYS_INLINE void begin_batch(struct wire_state *state, struct wire_counters *counters)
{
	__u64 now = bpf_ktime_get_ns();

	if (state->sent == state->sent_before && now - state->now < WIRE_LONGEST_WAIT)
		counters->count[WIRE_SPUN] += now - state->now;
	state->sent_before = state->sent;
	state->now = now;
}

/* When may the next packet leave? Returns its intended time, or 0: not yet. */
static ALWAYS_INLINE __u64 due(struct wire_state *state, const struct wire_settings *setting)
{
	if (state->turn == 0) {
		if (!setting->gap)
			state->open = 1;
		else if (!state->next)
			state->next = state->now;
		if (setting->gap && !state->open)
			state->open = state->next + setting->hold <= state->now;
	}
	if (!state->open)
		return 0;
	if (!setting->gap)
		return state->now;
	if (state->next > state->now) {
		state->open = 0;
		return 0;
	}
	return state->next;
}

/* xorshift32 (Marsaglia 2003) picks one of the quantiles of the gap's distribution. */
static ALWAYS_INLINE __u32 draw(struct wire_state *state)
{
	__u32 x = state->random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	state->random = x;
	return x & (WIRE_GAPS - 1);
}

/* A packet leaves: when is the next one due? `gap`: drawn from wire_gaps, where gaps are random. */
static ALWAYS_INLINE void advance(struct wire_state *state, const struct wire_settings *setting,
				  const __u32 *gap)
{
	if (!setting->gap || ++state->in_burst < setting->burst)
		return;
	state->in_burst = 0;
	state->next += gap ? *gap : setting->gap;
}

/* The flow whose turn it is: flows take turns by trains, which say how much each of them sends. */
static ALWAYS_INLINE __u32 next_flow(struct wire_state *state, const struct wire_settings *setting)
{
	__u32 train = state->flow ? setting->train : setting->heavy;

	if (state->in_train >= train) {
		state->in_train = 0;
		if (++state->flow >= setting->flows)
			state->flow = 0;
	}
	state->in_train++;
	return setting->first + state->flow;
}

#endif
