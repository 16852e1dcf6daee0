// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of frames where no program of ours sees it: the kernel tells by tracepoint only. Without the
 * drops on the way into a queue, a backlog's credit would leak. Compiled together with steer.bpf.c.
 * Arguments as in the kernel's include/trace/events/xdp.h (since Linux 5.9). They tell of the whole machine.
 */
#include "clear.h"
#include "unit.h"

/* (map id, frames queued, frames dropped, core) */
int on_cpumap_enqueue(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0, core = ctx->args[3], drops = ctx->args[2], *slot;
	struct settings *setting = settings.lookup(&zero);
	struct workers *all = workers.lookup(&zero);

	if (LIKELY(!drops) || !setting || !all || (__u32)ctx->args[0] != setting->cpumap)
		return 0;
	slot = slot_of_core.lookup(&core);
	if (slot && *slot)
		__sync_fetch_and_add(&all->worker[(*slot - 1) & (MAX_WORKERS - 1)].lost, drops);
	return 0;
}

/* (map id, frames taken out, dropped for want of memory, slept before, verdicts). It comes behind deliver.bpf.c, which
 * has counted them as done, and before GRO sees them; older kernels tell it behind that. */
int on_cpumap_kthread(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0, core = bpf_get_smp_processor_id(), frames = ctx->args[1], *slot;
	struct settings *setting = settings.lookup(&zero);
	struct deliver_counters *counters = deliver_counters.lookup(&zero);
	struct workers *all = workers.lookup(&zero);
	struct worker *worker;

	if (!setting || !counters || !all || (__u32)ctx->args[0] != setting->cpumap)
		return 0;
	counters->count[DELIVER_DROP_MEMORY] += (__u32)ctx->args[2];
	if (LIKELY(frames))
		counters->count[DELIVER_BULKS]++;
	if (!POLICY_NEEDS_THROUGH)
		return 0;
	slot = slot_of_core.lookup(&core);
	if (slot && *slot) {
		worker = &all->worker[(*slot - 1) & (MAX_WORKERS - 1)];
		clearing_step(&worker->clearing, worker->done, frames, bpf_ktime_get_ns());
	}
	return 0;
}

/* (from device, to device, sent, dropped, error). It names no map: what is pending on this core says whose
 * frames these are, for a program's redirects are flushed before another one runs there. */
int on_devmap_xmit(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	int sent = ctx->args[2], drops = ctx->args[3];
	struct pending *redirected = pending.lookup(&zero);
	struct deliver_counters *counters = deliver_counters.lookup(&zero);

	if (!redirected || !redirected->frames || !counters)
		return 0;
	redirected->frames -= sent + drops;
	if (drops > 0)
		counters->count[(int)ctx->args[4] < 0 ? DELIVER_DROP_DEVICE : DELIVER_DROP_RING] += drops;
	return 0;
}

/* (device, program, target, error, map type, map id, …) */
int on_redirect_err(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct settings *setting = settings.lookup(&zero);
	struct pending *redirected = pending.lookup(&zero);
	struct deliver_counters *counters = deliver_counters.lookup(&zero);

	if (!setting || !redirected || !counters || (__u32)ctx->args[5] != setting->devmap)
		return 0;
	redirected->frames--;
	counters->count[DELIVER_DROP_DEVICE]++;
	return 0;
}
