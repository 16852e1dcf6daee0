// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the end of a receive poll tells: whether it was full, so that more was waiting (pressure), and
 * that every packet which this core has started has finished (clear).
 * Compiled together with steer.bpf.c. Arguments as in the kernel's include/trace/events/napi.h.
 */
#define FULL_POLLS 8

/* (napi, packets, budget) */
RAW_TRACEPOINT_PROBE(napi_poll)
{
	__u32 zero = 0, core = bpf_get_smp_processor_id();
	struct local_path *local = local_paths.lookup(&core);
	__u32 *level = pressure.lookup(&zero);

	if (!local || !level)
		return 0;
	/* Other devices of this core are polled too, and are seldom full. */
	if ((int)ctx->args[1] >= (int)ctx->args[2])
		*level = FULL_POLLS;
	else if (*level)
		*level -= 1;
	WRITE_SHARED(local->finished, local->started);
	return 0;
}
