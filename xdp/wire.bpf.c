// SPDX-License-Identifier: GPL-2.0-only
/*
 * The wire: run by BPF_PROG_TEST_RUN with live frames, each call makes one frame of the other host and
 * puts it on wire0, whose other end is the NIC. Frames are made whole every time, for GRO rewrites
 * headers in buffers that come back to us.
 */
#include "compat.h"
#include "counters.h"
#include "stamp.h"
#include "wire.h"

#define IP6_BYTES 40

struct wire_counters {
	__u64 count[WIRE_COUNTERS];
};

BPF_ARRAY(wire_config, struct wire_config, 1);
BPF_ARRAY(wire_lanes, struct wire_lane, CORES); /* by the core that sends */
BPF_F_TABLE("array", __u32, struct wire_turn, wire_turns, MOST_TURNS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct wire_batch, wire_batches, MOST_GAPS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, __u64, wire_gaps, MOST_GAPS, BPF_F_MMAPABLE); /* ns between arrivals of frames */
BPF_PERCPU_ARRAY(wire_counters, struct wire_counters, 1);
BPF_DEVMAP(wire_port, 1);
/* Frames on their way to the device on this core: see on_devmap_xmit. */
BPF_PERCPU_ARRAY(wire_pending, __u64, 1);

static ALWAYS_INLINE __u32 words_of(__u64 value)
{
	return (value & 0xffff) + (value >> 16 & 0xffff) + (value >> 32 & 0xffff) + (value >> 48);
}

static ALWAYS_INLINE __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

_Static_assert(HEADER_BYTES <= sizeof(((struct wire_config *)0)->header), "the headers have room");

static ALWAYS_INLINE __u16 checksum(__u32 sum)
{
	sum = fold(sum);
	return sum == 0xffff ? 0xffff : ~sum; /* 0 would say "no checksum" (RFC 768) */
}

/* Another container than the first: its addresses' last bytes count up, and IPv4's header checksum follows
 * (RFC 1624, equation 3). Returns what that adds to the UDP checksum. */
static ALWAYS_INLINE __u32 address(__u8 *inner, __u32 container)
{
	struct ethhdr *ethernet = (void *)inner;
	struct iphdr *ip = (void *)(ethernet + 1);
	__u32 more = bpf_htons(container);

	ethernet->h_dest[5] += container;
	((__u8 *)ip)[IP_VERSION == 6 ? IP6_BYTES - 1 : sizeof(*ip) - 1] += container;
	if (IP_VERSION == 4)
		ip->check = ~fold((__u16)~ip->check + more);
	return more;
}

/* Headers, stamp, ports and checksum. A sum has 13 words of 16 bits: two folds suffice. */
static ALWAYS_INLINE void fill(__u8 *frame, const struct wire_config *config, const struct wire_turn *turn,
			       __u64 time)
{
	struct udphdr *udp = (void *)(frame + HEADER_BYTES - sizeof(*udp));
	struct stamp *stamp = (void *)(frame + HEADER_BYTES);
	__u32 sum = config->sum, more = 0;

	__builtin_memcpy(frame, config->header, HEADER_BYTES);
	if (config->containers > 1)
		more = address(frame + INNER, turn->flow % config->containers);
	if (INNER) {
		struct udphdr *outer = (void *)(frame + INNER - 8 - sizeof(*outer)); /* VXLAN: 8 */

		outer->source = bpf_htons(config->outer_port + turn->flow);
		/* The inner datagram sums up to the complement of its pseudo-header, whatever is in it. So of another
		 * address that takes away what the MAC address adds, and IPv6's header, without a sum, adds it again. */
		if (config->outer_sum)
			outer->check = checksum(config->outer_sum + outer->source + (IP_VERSION == 6 ? more : 0));
	}
	udp->source = bpf_htons(config->first_port + turn->flow);
	stamp->run = config->run;
	stamp->flow = turn->flow;
	stamp->sequence = turn->sequence;
	stamp->intended = time;
	sum += more + udp->source + words_of(stamp->run) + stamp->flow + words_of(stamp->sequence);
	sum += words_of(stamp->intended);
	udp->check = checksum(sum);
}

/* A kernel batch leaves as one burst, so the clock is read once. Is the next hand-over due? */
static ALWAYS_INLINE void begin(const struct wire_config *config, struct wire_lane *lane)
{
	__u32 place = lane->first_batch + lane->batch;
	struct wire_batch *batch = wire_batches.lookup(&place);
	__u64 now = bpf_ktime_get_ns();

	lane->ready = config->batch;
	if (!lane->batches || !batch) {
		lane->arrival = now;
		return;
	}
	if (!lane->release) {
		lane->release = now;
		lane->arrival = now;
	}
	lane->ready = 0;
	if (now < lane->release + batch->gap)
		return;
	lane->release += batch->gap;
	lane->ready = batch->frames;
	if (!lane->gaps)
		lane->arrival = lane->release;
	if (++lane->batch >= lane->batches)
		lane->batch = 0;
}

/* The intended time of the next frame. */
static ALWAYS_INLINE __u64 intended(struct wire_lane *lane)
{
	__u32 place = lane->first_gap + lane->gap;
	__u64 *gap;

	if (!lane->gaps)
		return lane->arrival;
	gap = wire_gaps.lookup(&place);
	if (gap)
		lane->arrival += *gap;
	if (++lane->gap >= lane->gaps)
		lane->gap = 0;
	return lane->arrival;
}

int wire(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	__u32 zero = 0, core = bpf_get_smp_processor_id(), place;
	struct wire_config *config = wire_config.lookup(&zero);
	struct wire_lane *lane = wire_lanes.lookup(&core);
	struct wire_counters *counters = wire_counters.lookup(&zero);
	__u64 *pending = wire_pending.lookup(&zero);
	struct wire_turn *turn;
	int verdict;

	if (!config || !lane || !counters || !pending)
		return XDP_DROP;
	if (frame + HEADER_BYTES + sizeof(struct stamp) > (__u8 *)(long)ctx->data_end)
		return XDP_DROP;
	place = lane->place;
	if (place == 0)
		begin(config, lane);
	lane->place = place + 1 < config->batch ? place + 1 : 0;
	if (!lane->left)
		return XDP_DROP;
	if (place >= lane->ready) {
		counters->count[WIRE_IDLE]++;
		return XDP_DROP;
	}
	core = lane->first_turn + lane->turn;
	turn = wire_turns.lookup(&core);
	if (!turn)
		return XDP_DROP;
	fill(frame, config, turn, intended(lane));
	verdict = wire_port.redirect_map(0, XDP_DROP); /* XDP_DROP where there is no device */
	if (verdict != XDP_REDIRECT)
		return verdict;
	*pending += 1;
	lane->left--;
	counters->count[WIRE_SENT]++;
	turn->sequence += turn->step;
	if (++lane->turn >= lane->turns)
		lane->turn = 0;
	return verdict;
}

/* What was lost on the way to the device only tracepoints tell, and they see every redirect of the machine.
 * Ours are told apart by what is pending: what the wire redirects on a core is flushed to the device before
 * softirqs, and with them any other program that redirects, run there again.
 * Arguments: include/trace/events/xdp.h; (from device, to device, sent, dropped, error). */
int on_devmap_xmit(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct wire_counters *counters = wire_counters.lookup(&zero);
	__u64 *pending = wire_pending.lookup(&zero);
	int sent = ctx->args[2], drops = ctx->args[3], error = ctx->args[4];

	if (!counters || !pending || !*pending)
		return 0;
	*pending -= sent + drops;
	/* Before Linux 6.3 a device whose peer has no NAPI says so here, not to redirect_err. */
	if (drops > 0)
		counters->count[error < 0 ? WIRE_DROP_REFUSED : WIRE_DROP_RING] += drops;
	return 0;
}

/* (device, program, target, error, map type, map id, …) */
int on_redirect_err(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct wire_config *config = wire_config.lookup(&zero);
	struct wire_counters *counters = wire_counters.lookup(&zero);
	__u64 *pending = wire_pending.lookup(&zero);

	if (!config || !counters || !pending || (__u32)ctx->args[5] != config->port_id)
		return 0;
	*pending -= 1;
	counters->count[WIRE_DROP_REFUSED]++;
	return 0;
}
