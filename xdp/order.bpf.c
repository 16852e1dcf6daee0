// SPDX-License-Identifier: GPL-2.0-only
/*
 * Watches order while somebody looks (`overspray top`): a program on the NIC (tc ingress, before peer.bpf.c)
 * that sees each packet, after GRO, when it is about to be delivered. A datagram does not tell its
 * place, so what can be seen of any flow is that it changes its core; of TCP also that a segment starts
 * before one that was seen already. Flows whose hashes share an entry disturb each other's counts.
 */
#include <linux/pkt_cls.h>

#include "compat.h"
#include "counters.h"
#include "proof.h"

#define ORDER_FLOWS 1024 /* a power of two */

struct order_settings {
	__u64 secret;
};

struct order_flow {
	__u32 hash;
	__u32 core;
	__u32 sequence; /* the highest that a TCP segment started with */
	__u32 pad;
};

struct order_counters {
	__u64 count[ORDER_COUNTERS];
};

BPF_ARRAY(order_settings, struct order_settings, 1);
BPF_ARRAY(order_flows, struct order_flow, ORDER_FLOWS);
BPF_PERCPU_ARRAY(order_counters, struct order_counters, 1);

/* The TCP header of a plain packet that carries data, or NULL. */
static ALWAYS_INLINE struct tcphdr *segment(struct __sk_buff *skb)
{
	struct ethhdr *ethernet = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct ipv6hdr *six = (void *)(ethernet + 1);
	struct iphdr *four = (void *)(ethernet + 1);
	struct tcphdr *tcp;

	if ((void *)(four + 1) > end)
		return 0;
	if (four->version == 4 && four->ihl == 5 && four->protocol == IPPROTO_TCP) {
		tcp = (void *)(four + 1);
	} else {
		if ((void *)(six + 1) > end || six->version != 6 || six->nexthdr != IPPROTO_TCP)
			return 0;
		tcp = (void *)(six + 1);
	}
	return (void *)(tcp + 1) > end ? 0 : tcp;
}

int order(struct __sk_buff *skb)
{
	struct proof *proof = (void *)(long)skb->data_meta;
	__u32 zero = 0, core = bpf_get_smp_processor_id(), hash, place, sequence = 0;
	struct order_settings *setting = order_settings.lookup(&zero);
	struct order_counters *counters = order_counters.lookup(&zero);
	struct order_flow *flow;
	struct tcphdr *tcp;

	if (!setting || !counters)
		return TC_ACT_UNSPEC;
	if ((void *)(proof + 1) > (void *)(long)skb->data || proof->secret != setting->secret)
		return TC_ACT_UNSPEC;
	tcp = segment(skb);
	if (tcp)
		sequence = __builtin_bswap32(tcp->seq);
	hash = bpf_get_hash_recalc(skb);
	place = hash & (ORDER_FLOWS - 1);
	flow = order_flows.lookup(&place);
	if (!flow)
		return TC_ACT_UNSPEC;
	counters->count[ORDER_SEEN]++;
	if (flow->hash != hash) {
		flow->hash = hash;
		flow->core = core;
		flow->sequence = sequence;
		return TC_ACT_UNSPEC;
	}
	if (flow->core != core)
		counters->count[ORDER_MOVED]++;
	flow->core = core;
	if (!tcp)
		return TC_ACT_UNSPEC;
	if ((__s32)(sequence - flow->sequence) < 0)
		counters->count[ORDER_BACK]++;
	else
		flow->sequence = sequence;
	return TC_ACT_UNSPEC;
}
