// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it tells when a worker's thread leaves its core. It goes to sleep: its queue was empty, and all
 * that it took out is through, what was dropped on the way included. It still wanted to run: another thread
 * shares the core, an application perhaps.
 * Compiled together with steer.bpf.c. Arguments as in the kernel's
 * include/trace/events/sched.h since Linux 5.18.
 */

/* (preempted, from, to, state of from): the one that leaves is still the current one */
RAW_TRACEPOINT_PROBE(sched_switch)
{
	__u32 zero = 0, core = bpf_get_smp_processor_id();
	struct workers *all = workers.lookup(&zero);
	__u32 *slot = worker_of_core.lookup(&core);
	struct worker *worker;

	if (!all || !slot || !*slot)
		return 0;
	worker = &all->worker[(*slot - 1) & (MAX_WORKERS - 1)];
	if ((__u32)bpf_get_current_pid_tgid() != worker->thread)
		return 0;
	if ((__u32)ctx->args[3] == 0) { /* TASK_RUNNING */
		worker->yielded++;
		/* It leaves between packets only: bottom halves are off meanwhile. */
		WRITE_SHARED(worker->finished, worker->started);
		return 0;
	}
	worker->started = worker->done;
	WRITE_SHARED(worker->finished, worker->done);
	return 0;
}
