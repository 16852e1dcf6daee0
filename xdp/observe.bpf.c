// SPDX-License-Identifier: GPL-2.0-only
/*
 * The observer: what each core's time is spent on, and how often it is interrupted. Raw tracepoints, for
 * they cost the least; they see the whole machine. Arguments: include/trace/events/{irq,sched,napi,xdp}.h
 */
#include "compat.h"
#include "counters.h"
#include "observe.h"

#define IN_ORDER() asm volatile("" ::: "memory") /* the compiler moves nothing across: an interrupt may look */
#define NET_RX 3 /* NET_RX_SOFTIRQ of include/linux/interrupt.h */

struct observe_counters {
	__u64 count[OBSERVE_COUNTERS];
};

BPF_PERCPU_ARRAY(observe_times, struct observed, 1);
BPF_PERCPU_ARRAY(observe_settled, struct observed, 1);
BPF_PERCPU_ARRAY(observe_counters, struct observe_counters, 1);
/* A thread, as its own pid namespace counts, and what its time is: a kind. */
BPF_HASH(observe_watched, __u32, __u32, OBSERVE_THREADS);

/* The current thread's kind; KINDS where it is not watched. */
static ALWAYS_INLINE enum observe_kind watched(void)
{
	struct bpf_pidns_info who = {};
	__u32 *kind;

	if (bpf_get_ns_current_pid_tgid(PID_DEVICE, PID_INODE, &who, sizeof(who)))
		return KINDS;
	kind = observe_watched.lookup(&who.pid);
	return kind && *kind < KINDS ? *kind : KINDS;
}

/* Whether the current thread's name begins so. */
static ALWAYS_INLINE bool is_named(const char *start, unsigned int length)
{
	char name[16] = {};

	bpf_get_current_comm(name, sizeof(name));
#pragma unroll
	for (unsigned int i = 0; i < length; i++)
		if (name[i] != start[i])
			return false;
	return true;
}

static ALWAYS_INLINE bool is_cpumap(void)
{
	const char start[] = "cpumap/";

	return is_named(start, sizeof(start) - 1);
}

/* A thread that polls a device (threaded NAPI), in place of a softirq. */
static ALWAYS_INLINE bool is_napi(void)
{
	const char start[] = "napi/";

	return is_named(start, sizeof(start) - 1);
}

/* Whose this moment is. */
static ALWAYS_INLINE enum observe_kind running(const struct observed *core)
{
	enum observe_kind kind;

	if (core->softirq)
		return KIND_SOFTIRQ;
	if (!bpf_get_current_pid_tgid())
		return KIND_IDLE;
	kind = watched();
	if (kind < KINDS)
		return kind;
	if (is_napi())
		return KIND_SOFTIRQ;
	return is_cpumap() ? KIND_CPUMAP : KIND_OTHER;
}

/* Charge the time since the last look; what follows is a softirq, or is none. Where `begin` did not run,
 * nothing is known of that time. Softirqs and switches don't interrupt one another: only `settle` can come
 * between. */
static ALWAYS_INLINE void charge(struct observed *core, bool softirq)
{
	enum observe_kind kind;
	__u64 now;

	if (!core->since)
		return;
	core->turn++;
	IN_ORDER();
	kind = running(core);
	now = bpf_ktime_get_ns();
	core->ns[kind] += now - core->since;
	core->since = now;
	core->softirq = softirq;
	IN_ORDER();
	core->turn++;
}

static ALWAYS_INLINE void add(enum observe_counter which, __u64 number)
{
	__u32 zero = 0;
	struct observe_counters *counters = observe_counters.lookup(&zero);

	if (counters)
		counters->count[which] += number;
}

int on_softirq_entry(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct observed *core = observe_times.lookup(&zero);

	if (core)
		charge(core, true);
	if ((__u32)ctx->args[0] == NET_RX)
		add(OBSERVE_SOFTIRQS, 1);
	return 0;
}

int on_softirq_exit(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct observed *core = observe_times.lookup(&zero);

	if (core)
		charge(core, false);
	return 0;
}

/* The thread that goes is still the current one. */
int on_sched_switch(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct observed *core = observe_times.lookup(&zero);

	if (core)
		charge(core, false);
	add(OBSERVE_SWITCHES, 1);
	return 0;
}

/* (NAPI, packets, budget) */
int on_napi_poll(struct bpf_raw_tracepoint_args *ctx)
{
	add(OBSERVE_POLLS, 1);
	add(OBSERVE_POLLED, (__u32)ctx->args[1]);
	return 0;
}

/* (map id, frames taken out, frames dropped, whether it gave up its core before, verdicts) */
int on_xdp_cpumap_kthread(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 frames = ctx->args[1];

	add(OBSERVE_BULKS, frames > 0);
	add(OBSERVE_BULKED, frames);
	add(OBSERVE_SLEEPS, (__u32)ctx->args[3] != 0);
	return 0;
}

int on_ipi(struct bpf_raw_tracepoint_args *ctx)
{
	add(OBSERVE_IPIS, 1);
	return 0;
}

/* Run on each core before the tracepoints are attached. */
int begin(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct observed *core = observe_times.lookup(&zero);

	if (core)
		core->since = bpf_ktime_get_ns();
	return 0;
}

/* Run on each core to be read: makes a copy that is complete up to now. It can interrupt a program above, or
 * one can interrupt it: so it changes nothing of theirs, and returns 1 where that happened: run it again. */
int settle(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct observed *core = observe_times.lookup(&zero);
	struct observed *copy = observe_settled.lookup(&zero);
	__u64 turn;

	if (!core || !copy)
		return 1;
	turn = core->turn;
	IN_ORDER();
	*copy = *core;
	charge(copy, core->softirq);
	IN_ORDER();
	return turn & 1 || turn != core->turn;
}
