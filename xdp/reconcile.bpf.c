// SPDX-License-Identifier: GPL-2.0-only
/*
 * The other end of the workers' backlogs. What a worker takes out of its cpumap queue, and what is
 * dropped on the way into it, the kernel says by tracepoint only, once for a bulk of up to 8 frames.
 * Without the drops the backlog's credit would leak. Compiled together with steer.bpf.c.
 * Arguments as in the kernel's include/trace/events/xdp.h (since Linux 5.9).
 */
#include "compat.h"
#include "maps.h"
#include "policy.h"

/* All workers, where the tracepoint tells of our queues. */
static ALWAYS_INLINE struct workers *ours(__u32 cpumap)
{
	__u32 zero = 0;
	struct settings *setting = settings.lookup(&zero);

	return setting && cpumap == setting->cpumap ? workers.lookup(&zero) : 0;
}

static ALWAYS_INLINE struct worker *worker_of(struct workers *all, __u32 core)
{
	__u32 *slot = worker_of_core.lookup(&core);

	return slot && *slot ? &all->worker[(*slot - 1) & (MAX_WORKERS - 1)] : 0;
}

/* The worker whose thread this is. It has left its core when that was offline once. */
static ALWAYS_INLINE struct worker *this_worker(struct workers *all)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	struct worker *worker = worker_of(all, bpf_get_smp_processor_id());

	if (LIKELY(worker && worker->thread == thread))
		return worker;
	for (__u32 place = 0; place < MAX_WORKERS; place++) {
		worker = &all->worker[place];
		if (worker->thread == thread)
			return worker;
	}
	return 0;
}

/* (map id, frames queued, frames dropped, core) */
RAW_TRACEPOINT_PROBE(xdp_cpumap_enqueue)
{
	struct workers *all;
	struct worker *worker;

	if (LIKELY(!(__u32)ctx->args[2]))
		return 0;
	all = ours((__u32)ctx->args[0]);
	worker = all ? worker_of(all, (__u32)ctx->args[3]) : 0;
	if (worker)
		__sync_fetch_and_add(&worker->lost, (__u32)ctx->args[2]);
	return 0;
}

/* The kernel's struct xdp_cpumap_stats: what became of the frames under deliver.bpf.c. */
struct verdicts {
	__u32 redirected;
	__u32 passed;
	__u32 dropped;
};

/* What the delivery has dropped: of the device, user space takes those without proof away again. */
static ALWAYS_INLINE void count_drops(const void *given, __u32 without_memory)
{
	__u32 zero = 0;
	struct deliver_counters *counters = deliver_counters.lookup(&zero);
	struct verdicts verdicts = {};

	bpf_probe_read_kernel(&verdicts, sizeof(verdicts), given);
	if (LIKELY(!(verdicts.dropped | without_memory)) || !counters)
		return;
	counters->count[DELIVER_DROP_DEVICE] += verdicts.dropped;
	counters->count[DELIVER_DROP_MEMORY] += without_memory;
}

/* (map id, frames taken out, dropped for want of memory, slept before, verdicts), in the worker's thread */
RAW_TRACEPOINT_PROBE(xdp_cpumap_kthread)
{
	struct workers *all = ours((__u32)ctx->args[0]);
	struct worker *worker = all ? this_worker(all) : 0;

	/* The worker's thread is the only writer. */
	if (worker) {
		WRITE_SHARED(worker->done, worker->done + (__u32)ctx->args[1]);
		WRITE_SHARED(worker->batches, worker->batches + 1);
		count_drops((const void *)ctx->args[4], (__u32)ctx->args[2]);
	}
	return 0;
}
