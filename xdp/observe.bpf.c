// SPDX-License-Identifier: GPL-2.0-only
/*
 * The observers: where the cores' time goes, how often they are interrupted, and what XDP loses
 * without telling its programs. Raw tracepoints, for they cost the least; arguments as in the kernel's
 * include/trace/events/{irq,sched,napi,xdp}.h (since Linux 5.18). They see the whole host.
 */
#include "compat.h"
#include "observe.h"

BPF_PERCPU_ARRAY(observed, struct observed, 1);
BPF_HASH(watched, __u32, __u32, WATCHED_THREADS); /* thread -> enum observe_kind */

/* Interrupts of other kinds may come between: all that they could do here is observe a poll. */
static ALWAYS_INLINE struct observed *mine(void)
{
	__u32 zero = 0;

	return observed.lookup(&zero);
}

static ALWAYS_INLINE int starts_with(const char *name, const char *start, int length)
{
#pragma unroll
	for (int i = 0; i < length; i++)
		if (name[i] != start[i])
			return 0;
	return 1;
}

static ALWAYS_INLINE __u32 kind_of_current(void)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	char name[16] = {};
	__u32 *kind;

	if (!thread)
		return OBSERVE_IDLE;
	kind = watched.lookup(&thread);
	if (kind && *kind < OBSERVE_KINDS)
		return *kind;
	bpf_get_current_comm(name, sizeof(name));
	if (starts_with(name, "cpumap/", 7))
		return OBSERVE_CPUMAP;
	return starts_with(name, "napi/", 5) ? OBSERVE_NAPI : OBSERVE_OTHER;
}

/* Time since the last look; nothing at the first. */
static ALWAYS_INLINE __u64 lapse(struct observed *core)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 passed = core->since ? now - core->since : 0;

	core->since = now;
	return passed;
}

static ALWAYS_INLINE void charge_softirq(struct observed *core)
{
	__u64 vector = core->vector - 1;
	__u64 passed = lapse(core);

	if (vector < SOFTIRQ_VECTORS)
		core->served[vector] += passed;
}

static ALWAYS_INLINE void charge_thread(struct observed *core)
{
	__u32 kind = kind_of_current();

	if (kind < OBSERVE_KINDS)
		core->ran[kind] += core->pending;
	core->pending = 0;
}

/* (vector) */
RAW_TRACEPOINT_PROBE(softirq_entry)
{
	struct observed *core = mine();
	__u64 vector = (__u32)ctx->args[0];

	if (!core || vector >= SOFTIRQ_VECTORS)
		return 0;
	core->entries[vector]++;
	core->pending += lapse(core);
	core->vector = vector + 1;
	return 0;
}

/* (vector) */
RAW_TRACEPOINT_PROBE(softirq_exit)
{
	struct observed *core = mine();

	if (!core)
		return 0;
	charge_softirq(core);
	core->vector = 0;
	return 0;
}

/* (vector) */
RAW_TRACEPOINT_PROBE(softirq_raise)
{
	struct observed *core = mine();
	__u64 vector = (__u32)ctx->args[0];

	if (core && vector < SOFTIRQ_VECTORS)
		core->raised[vector]++;
	return 0;
}

/* (preempted, thread that goes, thread that comes, state of the one that goes: 0 could run on) */
RAW_TRACEPOINT_PROBE(sched_switch)
{
	struct observed *core = mine();
	__u32 thread = (__u32)bpf_get_current_pid_tgid();

	if (!core)
		return 0;
	core->pending += lapse(core);
	charge_thread(core);
	if (!thread)
		return 0;
	if (ctx->args[0] || !(__u32)ctx->args[3])
		core->count[OBSERVE_PREEMPTIONS]++;
	else
		core->count[OBSERVE_SWITCHES]++;
	return 0;
}

/* Run on each core before its counts are read, so that they are complete up to then. */
int settle(struct bpf_raw_tracepoint_args *ctx)
{
	struct observed *core = mine();

	(void)ctx;
	if (!core)
		return 0;
	if (core->vector)
		charge_softirq(core);
	else
		core->pending += lapse(core);
	charge_thread(core);
	return 0;
}

/* Tells how long a program takes that does nothing, as the kernel times programs. */
int nothing(struct bpf_raw_tracepoint_args *ctx)
{
	(void)ctx;
	return 0;
}

/* (NAPI, packets, budget) */
RAW_TRACEPOINT_PROBE(napi_poll)
{
	struct observed *core = mine();

	if (!core)
		return 0;
	core->count[OBSERVE_POLLS]++;
	core->count[OBSERVE_POLLED] += (__u32)ctx->args[1];
	return 0;
}

/* (map id, frames taken out, frames without memory for an skb, slept before, verdicts) */
RAW_TRACEPOINT_PROBE(xdp_cpumap_kthread)
{
	struct observed *core = mine();
	__u32 frames = (__u32)ctx->args[1];

	if (!core)
		return 0;
	if (frames) {
		core->count[OBSERVE_BULKS]++;
		core->count[OBSERVE_BULKED] += frames;
	}
	core->count[OBSERVE_SLEEPS] += !!(__u32)ctx->args[3];
	core->count[OBSERVE_DROP_MEMORY] += (__u32)ctx->args[2];
	return 0;
}

/* (from device, to device, sent, dropped, error). Without an error the device's own counters tell. */
RAW_TRACEPOINT_PROBE(xdp_devmap_xmit)
{
	struct observed *core;

	if (LIKELY(!(__u32)ctx->args[4]))
		return 0;
	core = mine();
	if (core)
		core->count[OBSERVE_DROP_REFUSED] += (__u32)ctx->args[3];
	return 0;
}

/* (device, program, target, error, …). In a softirq it is the driver that counts such a frame. */
RAW_TRACEPOINT_PROBE(xdp_redirect_err)
{
	struct observed *core = mine();

	(void)ctx;
	if (core && !core->vector)
		core->count[OBSERVE_DROP_REDIRECT]++;
	return 0;
}

/* (device, program, verdict) */
RAW_TRACEPOINT_PROBE(xdp_exception)
{
	struct observed *core = mine();

	(void)ctx;
	if (core)
		core->count[OBSERVE_DROP_EXCEPTION]++;
	return 0;
}
