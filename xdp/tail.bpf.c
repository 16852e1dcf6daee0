// SPDX-License-Identifier: GPL-2.0-only
/*
 * The far end of a path, for policies that want to know whether a flow is clear (tc ingress of the NIC,
 * before peer.bpf.c). What follows here, delivery, IP, UDP or TCP up to the socket, runs to its end before this
 * core takes the next packet. So a packet that starts says that all before it have finished; the
 * last one of a batch is seen off by polls.bpf.c and switches.bpf.c.
 * Not so where the container's veth hands on once more (RPS there): see docs/limits.md.
 * Compiled together with steer.bpf.c.
 */
#include <linux/pkt_cls.h>

int tail(struct __sk_buff *skb)
{
	struct proof *proof = (void *)(long)skb->data_meta;
	__u32 zero = 0, core = bpf_get_smp_processor_id();
	struct settings *setting = settings.lookup(&zero);
	struct workers *all = workers.lookup(&zero);
	struct local_path *local = local_paths.lookup(&core);
	__u32 segments = skb->gso_segs ? skb->gso_segs : 1;
	struct worker *worker;

	if (!setting || !all || !local)
		return TC_ACT_UNSPEC;
	if ((void *)(proof + 1) > (void *)(long)skb->data || proof->secret != setting->secret ||
	    proof->unit != setting->cpumap || proof->delivery != DELIVERY_PEER)
		return TC_ACT_UNSPEC;
	if (proof->slot == LOCAL_SLOT) {
		WRITE_SHARED(local->finished, local->started);
		local->started += segments;
		return TC_ACT_UNSPEC;
	}
	worker = &all->worker[(proof->slot - 1) & (MAX_WORKERS - 1)];
	WRITE_SHARED(worker->finished, worker->started);
	worker->started += segments;
	return TC_ACT_UNSPEC;
}
