// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sink `count`: a socket filter that counts a datagram where an application would get it, and drops
 * it. A share of the packets, whole windows of the sequence, is also timed and logged with its place
 * in the order of arrival; a log a core, so that cores that deliver at once do not wait for each other.
 */
#include "compat.h"
#include "counters.h"
#include "histogram.h"
#include "sink.h"
#include "stamp.h"

struct sink_counters {
	__u64 count[SINK_COUNTERS];
};

BPF_ARRAY(sink_settings, struct sink_settings, 1);
BPF_PERCPU_ARRAY(sink_counters, struct sink_counters, 1);
BPF_PERCPU_ARRAY(sink_flows, __u64, SINK_FLOWS);
BPF_PERCPU_ARRAY(sink_latency, struct histogram, SINK_CLASSES);
BPF_PERCPU_ARRAY(sink_used, __u64, 1);
BPF_F_TABLE("array", __u32, struct arrival, sink_log, SINK_LOG_ENTRIES, BPF_F_MMAPABLE);

/* Time and log one packet of a sampled window. */
static ALWAYS_INLINE void sample(const struct stamp *stamp, const struct sink_settings *setting,
				 struct sink_counters *counters)
{
	__u32 zero = 0, index, core = bpf_get_smp_processor_id();
	__u32 class = stamp->flow ? SINK_OTHERS : SINK_FIRST;
	struct histogram *latency = sink_latency.lookup(&class);
	__u64 *used = sink_used.lookup(&zero);
	__u64 now = bpf_ktime_get_ns(), bucket;
	struct arrival *arrival;

	if (!latency || !used)
		return;
	bucket = histogram_bucket(now > stamp->intended ? now - stamp->intended : 0);
	if (bucket < HISTOGRAM_BUCKETS)
		latency->count[bucket]++;
	index = core * setting->log_entries + (__u32)*used;
	arrival = sink_log.lookup(&index);
	if (*used >= setting->log_entries || !arrival) {
		counters->count[SINK_UNLOGGED]++;
		return;
	}
	*used += 1;
	arrival->time = now;
	arrival->sequence = stamp->sequence;
	arrival->flow = stamp->flow;
}

int sink(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct sink_counters *counters = sink_counters.lookup(&zero);
	struct sink_settings *setting = sink_settings.lookup(&zero);
	struct stamp stamp;
	__u64 *delivered;
	__u32 flow;

	if (!counters || !setting)
		return 0;
	/* The filter sees the datagram from its UDP header on. */
	if (bpf_skb_load_bytes(skb, 8, &stamp, sizeof(stamp)) || stamp.run != setting->run) {
		counters->count[SINK_FOREIGN]++;
		return 0;
	}
	counters->count[SINK_DELIVERED]++;
	counters->count[SINK_BYTES] += skb->len - 8;
	flow = stamp.flow;
	delivered = sink_flows.lookup(&flow);
	if (delivered)
		*delivered += 1;
	if ((stamp.sequence & setting->sample_mask) < setting->sample_below)
		sample(&stamp, setting, counters);
	return 0;
}
