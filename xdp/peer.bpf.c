// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delivery after GRO (tc, ingress): a packet that carries our proof goes straight into its container
 * by bpf_redirect_peer. In the case `docker` it passes here twice: on the NIC, and behind the helper
 * veth in the overlay's namespace, where its second hop starts. In the case `linux` it is received
 * once more, by the tunnel's device. Anything else goes the stock way.
 */
#include <linux/pkt_cls.h>

#include "counters.h"
#include "maps.h"
#include "proof.h"

struct peer_settings {
	__u64 secret;
	__u32 hop; /* 0: on the NIC, 1: in the overlay's namespace */
	__u32 pad;
};

struct peer_counters {
	__u64 count[PEER_COUNTERS];
};

BPF_ARRAY(peer_settings, struct peer_settings, 1);
BPF_PERCPU_ARRAY(peer_counters, struct peer_counters, 1);

int peer(struct __sk_buff *skb)
{
	struct proof *proof = (void *)(long)skb->data_meta;
	__u32 zero = 0;
	struct peer_settings *setting = peer_settings.lookup(&zero);
	struct peer_counters *counters = peer_counters.lookup(&zero);

	if (!setting || !counters)
		return TC_ACT_UNSPEC;
	if ((void *)(proof + 1) > (void *)(long)skb->data || proof->secret != setting->secret) {
		counters->count[PEER_STOCK]++;
		return TC_ACT_UNSPEC;
	}
	counters->count[PEER_DELIVERED]++;
	counters->count[PEER_SEGMENTS] += skb->gso_segs ? skb->gso_segs : 1;
	if (proof->delivery == DELIVERY_INGRESS)
		return bpf_redirect(proof->device, BPF_F_INGRESS);
	return bpf_redirect_peer(setting->hop ? proof->next : proof->device, 0);
}
