// SPDX-License-Identifier: GPL-2.0-only
/*
 * Beside the sinks of TCP: a socket filter that sees each packet (after GRO) as it reaches TCP, and lets
 * it pass. It counts segments and disorder, and logs whole windows of the stream, as sink.bpf.c does.
 * A filter of a listening socket is also that of the connections it accepts.
 */
#include "compat.h"
#include "counters.h"
#include "parse.h"
#include "sink.h"

#define ALL 0xffffffff /* keep the whole packet */
#define MAY_SYN 2

struct tcp_sink_counters {
	__u64 count[TCP_SINK_COUNTERS];
};

BPF_ARRAY(tcp_sink_settings, struct tcp_sink_settings, 1);
BPF_ARRAY(tcp_sink_flows, struct tcp_sink_flow, TCP_SINK_FLOWS);
BPF_PERCPU_ARRAY(tcp_sink_counters, struct tcp_sink_counters, 1);
BPF_PERCPU_ARRAY(sink_used, __u64, 1);
BPF_F_TABLE("array", __u32, struct arrival, sink_log, SINK_LOG_ENTRIES, BPF_F_MMAPABLE);

/* The log's flow has the number of segments in its upper half. */
static ALWAYS_INLINE int note(struct arrival *arrival, __u32 sequence, __u32 flow, __u32 segments)
{
	if (!arrival)
		return 1;
	arrival->time = bpf_ktime_get_ns();
	arrival->sequence = sequence;
	arrival->flow = flow | segments << 16;
	return 0;
}

int sink_tcp(struct __sk_buff *skb)
{
	__u32 zero = 0, flow, index, length, header, core = bpf_get_smp_processor_id();
	struct tcp_sink_counters *counters = tcp_sink_counters.lookup(&zero);
	struct tcp_sink_settings *setting = tcp_sink_settings.lookup(&zero);
	__u64 *used = sink_used.lookup(&zero);
	struct tcp_sink_flow *seen;
	__u32 sequence, segments, place;
	struct tcphdr tcp;

	/* The filter sees the segment from its TCP header on. */
	if (!counters || !setting || !used || bpf_skb_load_bytes(skb, 0, &tcp, sizeof(tcp)))
		return ALL;
	flow = swap16(tcp.source) - setting->port;
	if (flow >= setting->flows)
		return ALL;
	seen = tcp_sink_flows.lookup(&flow);
	if (!seen)
		return ALL;
	sequence = swap32(tcp.seq);
	if (tcp.syn) {
		seen->first = seen->highest = sequence + 1;
		return ALL;
	}
	header = tcp.doff * 4;
	length = skb->len > header ? skb->len - header : 0;
	if (!length || !setting->segment)
		return ALL;
	segments = skb->gso_segs ? skb->gso_segs : 1;
	counters->count[TCP_SINK_PACKETS]++;
	counters->count[TCP_SINK_SEGMENTS] += segments;
	if ((__s32)(sequence - seen->highest) > 0)
		counters->count[TCP_SINK_EARLY]++;
	else if (sequence != seen->highest)
		counters->count[TCP_SINK_LATE]++;
	if ((__s32)(sequence + length - seen->highest) > 0)
		seen->highest = sequence + length;
	place = (sequence - seen->first) / setting->segment;
	if ((place & setting->sample_mask) >= setting->sample_below)
		return ALL;
	index = core * setting->log_entries + (__u32)*used;
	if (*used >= setting->log_entries || note(sink_log.lookup(&index), place, flow, segments))
		counters->count[TCP_SINK_UNLOGGED]++;
	else
		*used += 1;
	return ALL;
}
