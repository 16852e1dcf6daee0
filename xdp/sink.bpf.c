// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sinks: a socket filter that counts a datagram where an application would get it, and drops it, or lets
 * the application have it.
 * Samples, whole windows of the sequence, are also timed and logged with their place in the order of
 * arrival: a log for each core, so that cores that deliver at once do not wait for each other.
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
BPF_PERCPU_ARRAY(sink_latency, struct histogram, 1);
BPF_PERCPU_ARRAY(sink_logged, __u64, 1);
BPF_F_TABLE("array", __u32, struct arrival, sink_log, SINK_LOG *CORES, BPF_F_MMAPABLE);

static ALWAYS_INLINE void sample(const struct stamp *stamp, struct sink_counters *counters)
{
	__u32 zero = 0, index = bpf_get_smp_processor_id() * SINK_LOG;
	struct histogram *latency = sink_latency.lookup(&zero);
	__u64 *logged = sink_logged.lookup(&zero);
	__u64 now = bpf_ktime_get_ns(), bucket;
	struct arrival *arrival;

	if (!latency || !logged)
		return;
	bucket = histogram_bucket(now > stamp->intended ? now - stamp->intended : 0);
	if (bucket < HISTOGRAM_BUCKETS)
		latency->count[bucket]++;
	index += (__u32)*logged;
	arrival = sink_log.lookup(&index);
	if (*logged >= SINK_LOG || !arrival) {
		counters->count[SINK_UNLOGGED]++;
		return;
	}
	*logged += 1;
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

	if (!counters || !setting)
		return 0;
	/* The filter sees the datagram from its UDP header on. */
	if (bpf_skb_load_bytes(skb, sizeof(struct udphdr), &stamp, sizeof(stamp)) ||
	    stamp.run != setting->run) {
		counters->count[SINK_FOREIGN]++;
		return setting->accept_foreign ? skb->len : 0;
	}
	counters->count[SINK_DELIVERED]++;
	counters->count[SINK_BYTES] += skb->len - sizeof(struct udphdr);
	if ((stamp.sequence & setting->sample_mask) < setting->sample_below)
		sample(&stamp, counters);
	return setting->accept ? skb->len : 0; /* so many bytes of it are kept */
}
