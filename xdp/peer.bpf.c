// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delivery after GRO (tc, ingress of the NIC): a packet that carries our proof goes straight into its
 * container, past tunnel device and bridge. Where the bridge has a namespace of its own it takes two hops:
 * `peer` into that namespace through a helper veth, `peer_next` behind that into the container. Anything
 * else goes the stock way.
 */
#include "compat.h"
#include "counters.h"
#include "proof.h"

#define TCX_NEXT -1

struct peer_counters {
	__u64 count[PEER_COUNTERS];
};

BPF_ARRAY(peer_secret, __u64, 1);
BPF_PERCPU_ARRAY(peer_counters, struct peer_counters, 1);

static ALWAYS_INLINE int hop(struct __sk_buff *skb, const bool is_first)
{
	struct proof *proof = (void *)(long)skb->data_meta;
	__u32 zero = 0;
	__u64 *secret = peer_secret.lookup(&zero);
	struct peer_counters *counters = peer_counters.lookup(&zero);

	if (!secret || !counters)
		return TCX_NEXT;
	if ((void *)(proof + 1) > (void *)(long)skb->data || proof->secret != *secret) {
		if (is_first)
			counters->count[PEER_STOCK]++;
		return TCX_NEXT;
	}
	if (!is_first || !proof->next) {
		counters->count[PEER_PACKETS]++;
		counters->count[PEER_SEGMENTS] += skb->gso_segs ? skb->gso_segs : 1;
	}
	return bpf_redirect_peer(is_first ? proof->device : proof->next, 0);
}

int peer(struct __sk_buff *skb)
{
	return hop(skb, true);
}

int peer_next(struct __sk_buff *skb)
{
	return hop(skb, false);
}
