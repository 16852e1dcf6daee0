// SPDX-License-Identifier: GPL-2.0-only
/*
 * NIC stage: prove that a frame belongs to a container, let the policy pick a slot, and take the tunnel off
 * and deliver here, or hand over to a worker. What can't be proven goes to the stock stack as it came.
 * Compiled with one policy, together with deliver.bpf.c and reconcile.bpf.c.
 */
#include "flow.h"
#include "order.h"
#include "unit.h"

struct knobs {
	KNOBS /* generated from the policy's Python half */
};

#include POLICY

_Static_assert(sizeof(struct policy_flow) <= FLOW_STATE_BYTES, "struct policy_flow is too large");

/* What we remember of a flow. Nothing here is trusted, so two flows of one hash may share it. */
struct flow {
	__u32 row; /* of paths: a hint */
	__u32 number; /* of the last packet that was watched */
	struct policy_flow state;
};

BPF_ARRAY(knobs, struct knobs, 1);
BPF_HASH(path_rows, struct path_key, __u32, MAX_PATHS);
BPF_ARRAY(paths, struct path, MAX_PATHS);
BPF_ARRAY(flows, struct flow, MAX_FLOWS);
BPF_ARRAY(latest, __u64, MAX_FLOWS); /* marks that were delivered */
BPF_PERCPU_ARRAY(policy_cores, struct policy_core, 1);

/* What IPv6 addresses have beyond the first word. */
static ALWAYS_INLINE bool same_rest(const __u32 *a, const __u32 *b)
{
	return !((a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

static ALWAYS_INLINE bool is_path(const struct path *path, const struct path_key *key, bool is6)
{
	return path && path->valid &&
	       !((path->key.local[0] ^ key->local[0]) | (path->key.remote[0] ^ key->remote[0]) |
		 (path->key.vni ^ key->vni) | (path->key.port ^ key->port)) &&
	       same_mac(path->key.mac, key->mac) &&
	       (LIKELY(!is6) ||
		(same_rest(path->key.local, key->local) && same_rest(path->key.remote, key->remote)));
}

/* The container that the headers name: where the flow's hint says, or the map knows better. */
static ALWAYS_INLINE struct path *find_path(struct flow *flow, const struct outer *outer,
					    const struct inner *inner)
{
	struct path_key key = {
		.vni = bpf_ntohl(outer->tunnel->vxlan.vni) >> 8 | (UNLIKELY(outer->ip.is6) ? 6 : 4) << 24,
		.port = bpf_ntohs(outer->tunnel->udp.dest),
	};
	struct path *path = paths.lookup(&flow->row);
	__u32 *row;

	if (UNLIKELY(outer->ip.is6)) {
		__builtin_memcpy(key.local, &outer->ip.v6->addresses[4], sizeof(key.local));
		__builtin_memcpy(key.remote, outer->ip.v6->addresses, sizeof(key.remote));
	} else {
		key.local[0] = outer->ip.v4->daddr;
		key.remote[0] = outer->ip.v4->saddr;
	}
	__builtin_memcpy(key.mac, inner->ethernet->h_dest, ETH_ALEN);
	if (LIKELY(is_path(path, &key, outer->ip.is6)))
		return path;
	row = path_rows.lookup(&key);
	if (!row)
		return 0;
	flow->row = *row;
	path = paths.lookup(row);
	return is_path(path, &key, outer->ip.is6) ? path : 0;
}

/* Over the end of the tunnel's headers: that we have proven the frame, and for whom. It must not go the stock
 * way any more. */
static ALWAYS_INLINE void vouch(struct tunnel_headers *tunnel, const struct path *path, __u64 secret, __u32 slot,
				__u64 mark)
{
	struct vouched *end = (void *)(tunnel + 1) - sizeof(*end);
	struct proof *proof = &end->proof;

	proof->secret = secret;
	proof->device = path->device;
	proof->next = path->next;
	proof->slot = slot;
	proof->numbered = !!mark;
	if (UNLIKELY(mark))
		end->mark = mark;
}

/* A numbered frame is about to be delivered; deliver.bpf.c does the same. */
static ALWAYS_INLINE void watch_order(__u64 mark)
{
	__u32 zero = 0, row = mark >> 32 & (MAX_FLOWS - 1);
	__u64 *before = latest.lookup(&row);
	struct deliver_counters *counters = deliver_counters.lookup(&zero);

	if (!before || !counters)
		return;
	counters->count[DELIVER_NUMBERED]++;
	if (is_overtaken(mark, READ_SHARED(*before)))
		counters->count[DELIVER_REORDERED]++;
	else
		*before = mark;
}

/* Into the container's veth, by XDP; deliver.bpf.c does the same. */
static ALWAYS_INLINE int into_veth(__u32 place)
{
	__u32 zero = 0;
	struct pending *redirected = pending.lookup(&zero);
	struct deliver_counters *counters = deliver_counters.lookup(&zero);

	if (redirected && devmap.redirect_map(place, XDP_DROP) == XDP_REDIRECT) {
		redirected->frames++;
		return XDP_REDIRECT;
	}
	if (counters)
		counters->count[DELIVER_DROP_DEVICE]++;
	return XDP_DROP;
}

/* After which part to stop, for `overspray cost`; in the real program nothing is left of it. */
enum stage {
	STAGE_NOTHING,
	STAGE_PARSE,
	STAGE_CLASSIFY,
	STAGE_POLICY,
	STAGE_ALL
};

static ALWAYS_INLINE int steered(struct xdp_md *ctx, const enum stage last)
{
	struct cursor cursor = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	__u32 zero = 0, slot, index, place;
	struct steer_counters *counters = steer_counters.lookup(&zero);
	struct settings *setting = settings.lookup(&zero);
	struct workers *all = workers.lookup(&zero);
	struct policy_core *core = policy_cores.lookup(&zero);
	struct knobs *knob = knobs.lookup(&zero);
	struct outer outer = {};
	struct inner inner = {};
	struct packet packet = {};
	struct worker *worker;
	__u64 mark = 0;
	struct flow *flow;
	struct path *path;
	int verdict, ecn;

	if (!counters || !setting || !all || !core || !knob)
		return XDP_PASS;
	counters->count[STEER_SEEN]++;
	if (last == STAGE_NOTHING)
		return XDP_DROP;

	verdict = parse_outer(&cursor, &outer, setting->mac);
	if (verdict)
		goto pass;
	verdict = parse_inner(&cursor, &inner);
	if (verdict)
		goto pass;
	verdict = STEER_PASS_CHECKSUM;
	if (UNLIKELY(outer.tunnel->udp.check) && !checksum_agrees(&outer, &inner))
		goto pass;
	verdict = STEER_PASS_ECN;
	ecn = ecn_of(ecn_in(&outer.ip), ecn_in(&inner.ip));
	if (ecn < 0)
		goto pass;
	if (last == STAGE_PARSE)
		return XDP_DROP;

	packet.hash = flow_hash(&inner);
	index = packet.hash & (MAX_FLOWS - 1);
	flow = flows.lookup(&index);
	if (!flow)
		return XDP_PASS;
	verdict = STEER_PASS_UNKNOWN;
	path = find_path(flow, &outer, &inner);
	if (!path)
		goto pass;
	verdict = STEER_PASS_INNER;
	if (UNLIKELY(same_mac(inner.ethernet->h_source, path->tunnel_mac)))
		goto pass;
	verdict = STEER_PASS_CHECKSUM;
	if (UNLIKELY(!outer.tunnel->udp.check && !path->unsummed))
		goto pass;
	packet.length = (__u16)(outer.ip.length - sizeof(*outer.tunnel));
	verdict = STEER_PASS_LENGTH;
	if (packet.length > path->mtu + sizeof(struct ethhdr))
		goto pass;
	if (last == STAGE_CLASSIFY)
		return XDP_DROP;

	packet.now = POLICY_NEEDS_TIME ? bpf_ktime_get_ns() : 0;
	packet.flow = index;
	packet.protocol = inner.ip.protocol;
	packet.flags = inner.flags;
	packet.queue = (__u16)ctx->rx_queue_index;
	slot = policy_slot(&packet, knob, &flow->state, core, all);
	verdict = STEER_REFUSED_SLOT;
	if (slot > all->count || slot > MAX_WORKERS)
		goto pass;
	if (last == STAGE_POLICY)
		return XDP_DROP;

	if (UNLIKELY(ecn != ecn_in(&inner.ip)))
		set_ecn(&inner.ip, ecn);
	if (UNLIKELY(setting->watched))
		mark = next_mark(&flow->number, packet.hash);
	if (slot != LOCAL_SLOT) {
		worker = &all->worker[(slot - 1) & (MAX_WORKERS - 1)];
		if (cpumap.redirect_map(worker->core, XDP_PASS) != XDP_REDIRECT)
			goto pass;
		vouch(outer.tunnel, path, setting->secret, slot, mark);
		counters->count[STEER_REMOTE]++;
		__sync_fetch_and_add(&worker->sent, 1); /* NIC cores share a worker */
		return XDP_REDIRECT;
	}
	if (UNLIKELY(mark))
		watch_order(mark);
	place = path->device;
	vouch(outer.tunnel, path, setting->secret, slot, 0);
	if (strip(ctx, outer_bytes(outer.ip.is6))) {
		counters->count[STEER_DROP_STRIP]++;
		return XDP_DROP;
	}
	counters->count[STEER_LOCAL]++;
	return setting->veth ? into_veth(place) : XDP_PASS;

pass:
	if (verdict > 0 && verdict < STEER_COUNTERS)
		counters->count[verdict]++;
	return XDP_PASS;
}

int steer(struct xdp_md *ctx)
{
	return steered(ctx, STAGE_ALL);
}
