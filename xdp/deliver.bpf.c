// SPDX-License-Identifier: GPL-2.0-only
/*
 * Worker stage of the delivery `veth`: on the worker's core, a frame taken out of its cpumap queue
 * goes on into its container's veth. The other deliveries need no program here: the kernel makes an
 * skb of the frame, and peer.bpf.c picks it up after GRO. Compiled together with steer.bpf.c.
 */
#include "counters.h"
#include "maps.h"
#include "proof.h"

struct deliver_counters {
	__u64 count[DELIVER_COUNTERS];
};

BPF_PERCPU_ARRAY(deliver_counters, struct deliver_counters, 1);

int deliver(struct xdp_md *ctx)
{
	struct proof *proof = (void *)(long)ctx->data_meta;
	__u32 zero = 0;
	struct deliver_counters *counters = deliver_counters.lookup(&zero);
	struct settings *setting = settings.lookup(&zero);

	if (!counters || !setting)
		return XDP_ABORTED;
	if ((void *)(proof + 1) > (void *)(long)ctx->data || proof->secret != setting->secret) {
		counters->count[DELIVER_DROP_PROOF]++;
		return XDP_DROP;
	}
	/* A tunnel device that is an endpoint itself has no veth: the kernel makes an skb for tc. */
	if (proof->delivery != DELIVERY_VETH)
		return XDP_PASS;
	counters->count[DELIVER_VETH]++;
	return devmap.redirect_map(proof->port, 0);
}
