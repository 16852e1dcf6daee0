// SPDX-License-Identifier: GPL-2.0-only
/*
 * Worker stage: on the worker's core, take the tunnel off a frame out of its cpumap queue, and deliver. The
 * kernel makes an skb of the frame and runs GRO, and peer.bpf.c picks it up behind that; or the frame goes
 * by XDP into its container's veth. Compiled together with steer.bpf.c.
 */
#include "unit.h"

int deliver(struct xdp_md *ctx)
{
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct vouched *found = 0;
	__u32 zero = 0, place;
	int bytes = 0;
	struct deliver_counters *counters = deliver_counters.lookup(&zero);
	struct settings *setting = settings.lookup(&zero);
	struct workers *all = workers.lookup(&zero);

	if (!counters || !setting || !all)
		return XDP_ABORTED;
	counters->count[DELIVER_TAKEN]++;
	if ((void *)(ethernet + 1) <= end) {
		bytes = outer_bytes(protocol_of(ethernet) == bpf_htons(ETH_P_IPV6));
		found = (void *)ethernet + bytes - sizeof(*found);
	}
	if (!found || (void *)(found + 1) > end || found->proof.secret != setting->secret) {
		counters->count[DELIVER_DROP_PROOF]++;
		return XDP_DROP;
	}
	all->worker[(found->proof.slot - 1) & (MAX_WORKERS - 1)].done++; /* this thread is the only writer */
	if (UNLIKELY(found->proof.numbered))
		watch_order(found->mark);
	place = found->proof.device;
	if (strip(ctx, bytes)) {
		counters->count[DELIVER_DROP_STRIP]++;
		return XDP_DROP;
	}
	return setting->veth ? into_veth(place) : XDP_PASS;
}
