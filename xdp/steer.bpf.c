// SPDX-License-Identifier: GPL-2.0-only
/*
 * NIC stage: prove that a frame belongs to a container, let the policy pick a slot, take the tunnel
 * off, and deliver here or hand over to a worker. What can't be proven goes to the stock stack as it
 * came. Compiled together with deliver.bpf.c and reconcile.bpf.c, with one policy.
 */
#include "backlog.h"
#include "counters.h"
#include "flow.h"
#include "maps.h"
#include "path.h"
#include "proof.h"
#include "track.h"

#include "knobs.h"  /* generated from the policy's Python half */
#include POLICY

_Static_assert(sizeof(struct policy_flow) <= FLOW_STATE_BYTES, "struct policy_flow is too large");

/* What we remember of a flow: hints where its rows are, and the policy's state. Nothing here is
 * trusted, so cores may race for an entry, and two flows of one hash may share one. */
struct flow {
	__u32 hash;
	__u32 used;     /* since a newcomer last looked for a place */
	__u32 tunnel;   /* row */
	__u32 endpoint; /* row */
	__u32 sender;   /* row */
	__u32 left;     /* packets for which the last decision still holds */
	__u32 slot;     /* that decision */
	struct path path;
	struct policy_flow state;
};

struct steer_counters {
	__u64 count[STEER_COUNTERS];
};

BPF_ARRAY(settings, struct settings, 1);
BPF_ARRAY(knobs, struct knobs, 1);
BPF_HASH(tunnel_rows, struct tunnel_key, __u32, MAX_TUNNELS);
BPF_ARRAY(tunnels, struct tunnel, MAX_TUNNELS);
BPF_HASH(endpoint_rows, struct endpoint_key, __u32, MAX_ENDPOINTS);
BPF_ARRAY(endpoints, struct endpoint, MAX_ENDPOINTS);
BPF_HASH(sender_rows, struct endpoint_key, __u32, MAX_SENDERS);
BPF_ARRAY(senders, struct sender, MAX_SENDERS);
BPF_ARRAY(flows, struct flow, MAX_FLOWS);
BPF_ARRAY(tracks, struct track, MAX_FLOWS); /* beside flows */
BPF_PERCPU_ARRAY(cores, struct policy_core, 1);
BPF_ARRAY(workers, struct workers, 1);
BPF_ARRAY(worker_of_core, __u32, MAX_CORES); /* core -> slot, 0: none */
BPF_ARRAY(local_paths, struct local_path, MAX_CORES);
BPF_PERCPU_ARRAY(pressure, __u32, 1);
BPF_PERCPU_ARRAY(steer_counters, struct steer_counters, 1);
BPF_XDP_REDIRECT_MAP("cpumap", struct bpf_cpumap_val, cpumap, CORES);
BPF_XDP_REDIRECT_MAP("devmap", struct bpf_devmap_val, devmap, MAX_ENDPOINTS);

/* The outer header names a tunnel: the flow's hint is right, or the map knows better. */
static ALWAYS_INLINE int known_tunnel(struct flow *flow, const struct outer *outer)
{
	struct tunnel *tunnel = tunnels.lookup(&flow->tunnel);
	struct tunnel_key key;
	__u32 *row;

	if (LIKELY(tunnel && tunnel->valid && is_tunnel(&tunnel->key, outer)))
		return 1;
	key = tunnel_of(outer);
	row = tunnel_rows.lookup(&key);
	if (!row)
		return 0;
	flow->tunnel = *row;
	return 1;
}

static ALWAYS_INLINE int is_endpoint(const struct endpoint *endpoint, const struct outer *by,
				     const __u8 *mac)
{
	return endpoint && endpoint->valid &&
	       !((endpoint->key.vni ^ by->vni) | (endpoint->key.port ^ by->port)) &&
	       same_mac(endpoint->key.mac, mac);
}

static ALWAYS_INLINE struct endpoint_key key_of(const struct outer *by, const __u8 *mac)
{
	struct endpoint_key key = {};

	key.vni = by->vni;
	key.port = by->port;
	__builtin_memcpy(key.mac, mac, ETH_ALEN);
	return key;
}

/* The container that the inner destination MAC names behind this tunnel, or NULL. */
static ALWAYS_INLINE struct endpoint *find_endpoint(struct flow *flow, const struct outer *by,
						    const __u8 *mac)
{
	struct endpoint *endpoint = endpoints.lookup(&flow->endpoint);
	struct endpoint_key key;
	__u32 *row;

	if (LIKELY(is_endpoint(endpoint, by, mac)))
		return endpoint;
	key = key_of(by, mac);
	row = endpoint_rows.lookup(&key);
	if (!row)
		return 0;
	flow->endpoint = *row;
	endpoint = endpoints.lookup(row);
	return is_endpoint(endpoint, by, mac) ? endpoint : 0;
}

static ALWAYS_INLINE int is_sender(const struct sender *sender, const struct outer *by,
				   const __u8 *mac)
{
	return sender && sender->valid &&
	       !((sender->key.vni ^ by->vni) | (sender->key.port ^ by->port)) &&
	       same_mac(sender->key.mac, mac);
}

/* Whether the inner source MAC may come from this VTEP: a tunnel device that learns drops what comes from
 * elsewhere than a static entry says (vxlan_snoop in drivers/net/vxlan). One without such an entry may. */
static ALWAYS_INLINE int may_send(struct flow *flow, const struct outer *by, const __u8 *mac)
{
	struct sender *sender = senders.lookup(&flow->sender);
	struct endpoint_key key;
	__u32 *row;

	if (UNLIKELY(!is_sender(sender, by, mac))) {
		key = key_of(by, mac);
		row = sender_rows.lookup(&key);
		if (!row)
			return 1;
		flow->sender = *row;
		sender = senders.lookup(row);
		if (!is_sender(sender, by, mac))
			return 0;
	}
	return is_remote(sender->remote, by);
}

/* Two places for each hash; a newcomer takes the one that was not used since the last newcomer. */
static ALWAYS_INLINE struct flow *find_flow(__u32 hash, __u32 *index)
{
	__u32 other = (hash & (MAX_FLOWS - 1)) ^ 1;
	struct flow *flow, *second;

	*index = hash & (MAX_FLOWS - 1);
	flow = flows.lookup(index);
	/* A path is remembered as long as it is used: flows of one place share it, and none is forgotten. */
	if (POLICY_NEEDS_CLEAR)
		return flow;
	if (!flow || LIKELY(flow->hash == hash))
		return flow;
	second = flows.lookup(&other);
	if (!second)
		return second;
	if (second->hash == hash || (flow->used && !second->used)) {
		*index = other;
		flow->used = second->hash == hash ? flow->used : 0;
		flow = second;
	} else {
		second->used = 0;
	}
	if (flow->hash != hash) {
		__builtin_memset(flow, 0, sizeof(*flow));
		flow->hash = hash;
	}
	return flow;
}

/* From here on the frame is the inner one, and says who stripped it and for whom. */
static ALWAYS_INLINE int strip(struct xdp_md *ctx, int bytes, const struct endpoint *endpoint,
			       const struct settings *setting, __u32 slot)
{
	struct proof *proof;

	if (bpf_xdp_adjust_head(ctx, bytes) ||
	    bpf_xdp_adjust_meta(ctx, -(int)sizeof(struct proof)))
		return -1;
	proof = (void *)(long)ctx->data_meta;
	if ((void *)(proof + 1) > (void *)(long)ctx->data)
		return -1;
	proof->secret = setting->secret;
	proof->delivery = endpoint->delivery;
	proof->port = endpoint->port;
	proof->device = endpoint->device;
	proof->next = endpoint->next;
	proof->slot = slot;
	proof->unit = setting->cpumap;
	return 0;
}

/* Where the packet goes. With cells of ours the policy is asked once for a run of a flow's packets, so what
 * order it promises it keeps: a later question finds no packet anywhere else than an earlier one would. */
static ALWAYS_INLINE __u32 decided(const struct packet *packet, const struct knobs *knob,
				   struct flow *flow, struct policy_core *core,
				   const struct workers *all, __u32 cells)
{
	__u32 slot;

	if (UNLIKELY(cells) && flow->left) {
		flow->left--;
		return flow->slot;
	}
	slot = policy_slot(packet, knob, &flow->state, core, all);
	if (UNLIKELY(cells)) {
		flow->left = cells - 1;
		flow->slot = slot;
	}
	return slot;
}

/* Whether no packet of the flow is on its way; only of what tail.bpf.c will see can that be known. */
static ALWAYS_INLINE int is_clear(const struct flow *flow, const struct endpoint *endpoint,
				  const struct workers *all)
{
	const struct path *path = &flow->path;
	struct local_path *local;

	if (endpoint->delivery != DELIVERY_PEER)
		return 0;
	if (path->slot != LOCAL_SLOT)
		return is_through(path, &all->worker[(path->slot - 1) & (MAX_WORKERS - 1)]);
	local = local_paths.lookup((__u32 *)&path->core);
	return local && READ_SHARED(local->finished) >= path->place;
}

/* Count a packet that stays here, and remember its place. */
static ALWAYS_INLINE void follow_local(struct flow *flow, const struct endpoint *endpoint)
{
	__u32 core = bpf_get_smp_processor_id();
	struct local_path *local = local_paths.lookup(&core);

	if (!local || endpoint->delivery != DELIVERY_PEER)
		return;
	local->sent++;
	flow->path.place = local->sent;
	flow->path.slot = LOCAL_SLOT;
	flow->path.core = core;
}

/* The same for one that goes to a worker. Other NIC cores may send meanwhile: the place is then too far
 * behind, which is safe. */
static ALWAYS_INLINE void follow_remote(struct flow *flow, struct worker *worker, __u32 slot)
{
	flow->path.lost = READ_SHARED(worker->lost);
	__sync_fetch_and_add(&worker->sent, 1);
	flow->path.place = READ_SHARED(worker->sent);
	flow->path.slot = slot;
}

/* Remember what the wire showed of a stream, before the headers change. */
static ALWAYS_INLINE void follow(const struct outer *outer, const struct inner *inner, __u32 index,
				 __u32 hash, __u32 endpoint)
{
	struct track *track = tracks.lookup(&index);

	if (track)
		follow_wire(track, outer, inner, hash, endpoint);
}

/* After which part to stop, for `overspray cost`; in the real program nothing is left of it. */
enum stage {
	STAGE_NOTHING,
	STAGE_MAPS,
	STAGE_PARSE,
	STAGE_CLASSIFY,
	STAGE_POLICY,
	STAGE_ALL
};

static ALWAYS_INLINE int steered(struct xdp_md *ctx, enum stage last)
{
	struct cursor cursor = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	__u32 zero = 0, slot, index;
	struct steer_counters *counters = steer_counters.lookup(&zero);
	struct settings *setting = settings.lookup(&zero);
	struct workers *all = workers.lookup(&zero);
	struct policy_core *core = cores.lookup(&zero);
	struct knobs *knob = knobs.lookup(&zero);
	struct packet packet = {};
	struct outer outer = {};
	struct inner inner = {};
	struct endpoint *endpoint;
	__u32 *level = POLICY_NEEDS_PRESSURE ? pressure.lookup(&zero) : 0;
	struct worker *worker;
	struct flow *flow;
	int verdict, tunnel, ecn;

	if (!counters || !setting || !all || !core || !knob)
		return XDP_PASS;
	counters->count[STEER_SEEN]++;
	if (last == STAGE_MAPS)
		return XDP_DROP;

	verdict = parse_outer(&cursor, &outer, setting);
	if (verdict)
		goto pass;
	tunnel = (int)(cursor.at - (void *)(long)ctx->data);
	verdict = parse_inner(&cursor, &inner);
	if (verdict)
		goto pass;
	verdict = STEER_PASS_CHECKSUM;
	if (UNLIKELY(outer.udp->check) && !checksum_agrees(&outer, &inner))
		goto pass;
	verdict = STEER_PASS_ECN;
	ecn = ecn_of(outer.ecn, inner.ecn);
	if (ecn < 0)
		goto pass;
	if (last == STAGE_PARSE)
		return XDP_DROP;

	packet.hash = flow_hash(&inner);
	flow = find_flow(packet.hash, &index);
	if (!flow)
		return XDP_PASS;
	verdict = STEER_PASS_TUNNEL;
	if (!known_tunnel(flow, &outer))
		goto pass;
	verdict = STEER_PASS_ENDPOINT;
	endpoint = find_endpoint(flow, &outer, inner.ethernet->h_dest);
	if (!endpoint)
		goto pass;
	verdict = STEER_PASS_SENDER;
	if (setting->guarded && !may_send(flow, &outer, inner.ethernet->h_source))
		goto pass;
	if (!flow->used)
		flow->used = 1;
	if (last == STAGE_CLASSIFY)
		return XDP_DROP;

	packet.now = POLICY_NEEDS_TIME ? bpf_ktime_get_ns() : 0;
	packet.flow = index;
	packet.container = endpoint->number;
	packet.length = outer.length - sizeof(struct udphdr) - sizeof(struct vxlan_header);
	packet.protocol = inner.protocol;
	packet.tcp_flags = inner.tcp_flags;
	packet.queue = (__u16)ctx->rx_queue_index;
	packet.clear = POLICY_NEEDS_CLEAR ? is_clear(flow, endpoint, all) : 0;
	packet.pressed = POLICY_NEEDS_PRESSURE && level ? *level : 0;
	slot = decided(&packet, knob, flow, core, all, setting->cells);
	verdict = STEER_REFUSED_SLOT;
	if (slot > all->count)
		goto pass;
	if (last == STAGE_POLICY)
		return XDP_DROP;

	if (inner.protocol == IPPROTO_TCP && setting->follow &&
	    STILL_WITHIN(inner.ports, sizeof(struct tcphdr), cursor.end))
		follow(&outer, &inner, index, packet.hash, flow->endpoint);
	if (UNLIKELY(ecn != inner.ecn))
		set_ecn(&inner, ecn);
	if (strip(ctx, tunnel, endpoint, setting, slot)) {
		counters->count[STEER_DROP_STRIP]++;
		return XDP_DROP;
	}
	if (slot == LOCAL_SLOT) {
		counters->count[STEER_LOCAL]++;
		if (POLICY_NEEDS_CLEAR)
			follow_local(flow, endpoint);
		return endpoint->delivery == DELIVERY_VETH ?
			       devmap.redirect_map(endpoint->port, 0) :
			       XDP_PASS;
	}
	counters->count[STEER_REMOTE]++;
	worker = &all->worker[(slot - 1) & (MAX_WORKERS - 1)];
	if (POLICY_NEEDS_CLEAR)
		follow_remote(flow, worker, slot);
	else
		__sync_fetch_and_add(&worker->sent, 1);
	return cpumap.redirect_map(worker->core, 0);

pass:
	if (verdict < STEER_COUNTERS)
		counters->count[verdict]++;
	return XDP_PASS;
}

int steer(struct xdp_md *ctx)
{
	return steered(ctx, STAGE_ALL);
}
