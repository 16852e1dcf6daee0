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

struct wire_counters {
	__u64 count[WIRE_COUNTERS];
};

BPF_ARRAY(wire_config, struct wire_config, 1);
BPF_ARRAY(wire_state, struct wire_state, 1);
BPF_PERCPU_ARRAY(wire_counters, struct wire_counters, 1);
BPF_DEVMAP(wire_port, 1);

static ALWAYS_INLINE __u32 words_of(__u64 value)
{
	return (value & 0xffff) + (value >> 16 & 0xffff) + (value >> 32 & 0xffff) + (value >> 48);
}

_Static_assert(HEADER_BYTES <= sizeof(((struct wire_config *)0)->header), "the headers have room");

/* Headers, stamp, port and checksum. The sum has 11 words of 16 bits: two folds suffice. */
static ALWAYS_INLINE void fill(__u8 *frame, const struct wire_config *config, const struct wire_state *state)
{
	struct udphdr *udp = (void *)(frame + HEADER_BYTES - sizeof(*udp));
	struct stamp *stamp = (void *)(frame + HEADER_BYTES);
	__u32 sum = config->sum;

	__builtin_memcpy(frame, config->header, HEADER_BYTES);
	udp->source = bpf_htons(config->first_port + state->flow);
	stamp->run = config->run;
	stamp->flow = state->flow;
	stamp->sequence = state->sequence;
	stamp->intended = state->now;
	sum += udp->source + words_of(stamp->run) + stamp->flow + words_of(stamp->sequence);
	sum += words_of(stamp->intended);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	udp->check = sum == 0xffff ? 0xffff : ~sum; /* 0 would say "no checksum" (RFC 768) */
}

int wire(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	__u32 zero = 0;
	struct wire_config *config = wire_config.lookup(&zero);
	struct wire_state *state = wire_state.lookup(&zero);
	struct wire_counters *counters = wire_counters.lookup(&zero);
	int verdict;

	if (!config || !state || !counters)
		return XDP_DROP;
	if (frame + HEADER_BYTES + sizeof(struct stamp) > (__u8 *)(long)ctx->data_end)
		return XDP_DROP;
	/* A batch leaves as one burst, so it has one time, and the clock is read once. */
	if (state->turn == 0)
		state->now = bpf_ktime_get_ns();
	if (++state->turn >= config->batch)
		state->turn = 0;
	fill(frame, config, state);
	verdict = wire_port.redirect_map(0, XDP_DROP); /* XDP_DROP where there is no device */
	if (verdict != XDP_REDIRECT)
		return verdict;
	counters->count[WIRE_SENT]++;
	if (++state->flow >= config->flows) {
		state->flow = 0;
		state->sequence++;
	}
	return verdict;
}

/* What was lost on the way to the device only tracepoints tell. They see every redirect of the machine,
 * and ours are made in the wire's process: by namespace, for in a container our pid is not the one that
 * the kernel counts by. Arguments: include/trace/events/xdp.h */
static ALWAYS_INLINE bool is_ours(const struct wire_config *config)
{
	struct bpf_pidns_info who = {};

	return !bpf_get_ns_current_pid_tgid(config->pid_device, config->pid_inode, &who, sizeof(who)) &&
	       who.tgid == config->tgid;
}

int on_devmap_xmit(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct wire_config *config = wire_config.lookup(&zero);
	struct wire_counters *counters = wire_counters.lookup(&zero);
	int drops = ctx->args[3], error = ctx->args[4];

	/* A devmap of the NIC's own program would be counted too: the event names no map. There is none yet.
	 * Before Linux 6.3 a device whose peer has no NAPI says so here, not to redirect_err. */
	if (config && counters && drops > 0 && is_ours(config))
		counters->count[error < 0 ? WIRE_DROP_REFUSED : WIRE_DROP_RING] += drops;
	return 0;
}

int on_redirect_err(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct wire_config *config = wire_config.lookup(&zero);
	struct wire_counters *counters = wire_counters.lookup(&zero);

	/* By the map as well: the NIC's programs run in the wire's process, and have redirects of their own. */
	if (config && counters && (__u32)ctx->args[5] == config->port_id && is_ours(config))
		counters->count[WIRE_DROP_REFUSED]++;
	return 0;
}
