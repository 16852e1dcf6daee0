// SPDX-License-Identifier: GPL-2.0-only
/*
 * Losses by the kernel's own reasons: packets that it frees before anybody has had them, in the watched
 * namespaces. The tracepoint names no device: where structs have it, the running kernel's BTF says
 * (steering/btf.py), and an address that is none reads as nothing.
 * Arguments: include/trace/events/skb.h; with a reason since Linux 5.17.
 */
#include "compat.h"
#include "counters.h"
#include "freed.h"

struct freed_counters {
	__u64 count[FREED_COUNTERS];
};

BPF_HASH(freed_watched, __u32, __u32, FREED_WATCHED); /* namespaces by the number of their inode */
BPF_PERCPU_HASH(freed_packets, struct freed, __u64, FREED_PLACES);
BPF_PERCPU_ARRAY(freed_counters, struct freed_counters, 1);

static ALWAYS_INLINE __u64 word(__u64 address)
{
	__u64 found = 0;

	bpf_probe_read_kernel(&found, sizeof(found), (void *)address);
	return found;
}

/* Whether the device that it came in by, or was to go out by, is in a watched namespace. */
static ALWAYS_INLINE bool is_watched(__u64 skb)
{
	__u64 device = word(skb + SKB_DEVICE);
	__u32 inode = word(word(device + DEVICE_SPACE) + SPACE_INODE);

	return freed_watched.lookup(&inode);
}

/* Packets that GRO has put into one. */
static ALWAYS_INLINE __u64 segments(__u64 skb)
{
	__u32 end = 0;
	__u16 count = 0;
	__u64 shared;

	bpf_probe_read_kernel(&end, sizeof(end), (void *)(skb + SKB_END));
	shared = word(skb + SKB_HEAD) + end;
	bpf_probe_read_kernel(&count, sizeof(count), (void *)(shared + SHARED_SEGMENTS));
	return count ? count : 1;
}

/* (skb, where it was freed, reason, …). The kernel does not run it for an event that interrupts it. */
int on_kfree_skb(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	__u64 skb = ctx->args[0], number, *packets;
	struct freed_counters *counters = freed_counters.lookup(&zero);
	struct freed freed = {.place = ctx->args[1], .reason = (__u32)ctx->args[2]};

	if (!is_watched(skb))
		return 0;
	number = segments(skb);
	packets = freed_packets.lookup(&freed);
	if (packets)
		__sync_fetch_and_add(packets, number);
	else if (freed_packets.update(&freed, &number) && counters)
		counters->count[FREED_UNNAMED] += number;
	return 0;
}
