// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way back (tc ingress of a container's host end): pure acknowledgements of a stream that the NIC
 * stage follows. The shield keeps from the sender what only tells of the disorder that we made:
 * duplicates are dropped and SACK blocks (RFC 2018) blanked, as long as the wire left no gap, no queue
 * of ours lost a packet, and progress is made within settings.hold. Then the tunnel is put on here, and
 * the frame goes out of the NIC without bridge and tunnel device. All else goes the stock way.
 * Compiled together with steer.bpf.c.
 */
#include <linux/pkt_cls.h>

#include "sack.h"

#define TUNNEL_BYTES (sizeof(struct iphdr) + sizeof(struct tunnel_headers) + ETH_HLEN)
#define ENCAPSULATION                                                                       \
	(BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |                       \
	 BPF_F_ADJ_ROOM_ENCAP_L2_ETH | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN))
#define EPHEMERAL 49152 /* RFC 7348: the outer source port is one of 49152 .. 65535 */

/* Not in bcc's list (for tc since Linux 6.15): the namespace of the socket that sent a packet. */
static __u64 (*netns_cookie)(void *ctx) = (void *)122;

struct back_counters {
	__u64 count[BACK_COUNTERS];
};

BPF_PERCPU_ARRAY(back_counters, struct back_counters, 1);

/* What leaves the NIC in front of the inner IP header. */
struct way {
	__u16 pad; /* aligns the IP header: the verifier minds, on the stack */
	__u8 macs[12];
	__be16 type;
	struct iphdr ip;
	struct tunnel_headers tunnel;
	__u8 inner[14];
} __attribute__((packed, aligned(8)));

#define WAY_BYTES (ETH_HLEN + TUNNEL_BYTES)

/* The stream that an acknowledgement answers, or NULL. Its hash is that of the other direction. */
static ALWAYS_INLINE __u32 hash_of_other(const struct inner *back)
{
	struct inner there = *back;
	struct iphdr v4 = {};
	struct ipv6hdr v6 = {};
	__be16 ports[2] = { back->ports[1], back->ports[0] };

	if (back->v4) {
		v4.saddr = back->v4->daddr;
		v4.daddr = back->v4->saddr;
		there.v4 = &v4;
	} else if (back->v6) {
		__builtin_memcpy(&v6.saddr, &back->v6->daddr, sizeof(v6.saddr));
		__builtin_memcpy(&v6.daddr, &back->v6->saddr, sizeof(v6.daddr));
		there.v6 = &v6;
	}
	there.ports = ports;
	return flow_hash(&there);
}

/* Whether the stream's container has sent this, from a socket of its own, by its own device. */
static ALWAYS_INLINE int at_home(struct __sk_buff *skb, const struct endpoint *endpoint)
{
	return endpoint && endpoint->valid && endpoint->host == skb->ifindex && endpoint->home &&
	       endpoint->home == netns_cookie(skb);
}

/* Packets that our queues have lost. */
static ALWAYS_INLINE __u64 lost_by(const struct workers *all)
{
	__u64 lost = 0;

	for (__u32 i = 0; i < MAX_WORKERS; i++) {
		if (i >= all->count)
			break;
		lost += READ_SHARED(all->worker[i].lost);
	}
	return lost;
}

enum fate {
	FATE_TELL,  /* as it is */
	FATE_BLANK, /* without its SACK blocks */
	FATE_DROP
};

/* What may be told of an acknowledgement, with `blocks` of SACK, of which the first may be a D-SACK. */
static ALWAYS_INLINE enum fate fate_of(struct track *track, __u32 number, const struct sack *sack,
				       const struct settings *setting, const struct workers *all,
				       struct back_counters *counters)
{
	__u64 acked = READ_SHARED(track->acked), place = near(acked, number), now;
	__u64 lost, since;

	if ((__s64)(place - acked) > 0) {
		WRITE_SHARED(track->acked, place);
		WRITE_SHARED(track->since, 0);
		if ((__s64)(track->gap - place) > 0)
			return FATE_TELL;
		return sack->blocks ? FATE_BLANK : FATE_TELL;
	}
	if (!sack->blocks || (__s64)(READ_SHARED(track->gap) - acked) > 0)
		return FATE_TELL;
	if (sack->duplicate) {
		counters->count[BACK_DSACK]++;
		return FATE_TELL;
	}
	lost = lost_by(all);
	if (lost != track->lost) {
		track->lost = lost;
		WRITE_SHARED(track->gap, READ_SHARED(track->next));
		counters->count[BACK_DISARMED]++;
		return FATE_TELL;
	}
	now = bpf_ktime_get_ns();
	since = READ_SHARED(track->since);
	if (!since)
		WRITE_SHARED(track->since, now);
	if (!since || now - since < setting->hold)
		return FATE_DROP;
	counters->count[BACK_LATE]++;
	return FATE_TELL;
}

/* Take the short way: out of the NIC. What can't be done here is left to the stock way. */
static ALWAYS_INLINE int send_back(struct __sk_buff *skb, const struct track *track,
				   const struct endpoint *endpoint, __u16 length)
{
	struct way way = {
		.type = swap16(ETH_P_IP),
		.ip = {
			.version = 4,
			.ihl = 5,
			.ttl = 64,
			.protocol = IPPROTO_UDP,
			.tot_len = swap16(length + TUNNEL_BYTES),
			.frag_off = swap16(0x4000),
			.saddr = (__be32)(track->addresses >> 32),
			.daddr = (__be32)track->addresses,
		},
		.tunnel = {
			.udp = {
				.source = swap16(EPHEMERAL + (track->hash & 16383)),
				.dest = swap16(track->port),
				.len = swap16(length + sizeof(way.tunnel) + ETH_HLEN),
			},
			.vxlan = { .flags = swap32(VXLAN_FLAGS_VNI), .vni = swap32(track->vni << 8) },
		},
	};
	__u64 sum;

	if (bpf_skb_load_bytes(skb, 0, way.inner, sizeof(way.inner)))
		return TC_ACT_UNSPEC;
	/* The way that its frames came, the other way round. */
	__builtin_memcpy(way.macs, track->macs + 6, 6);
	__builtin_memcpy(way.macs + 6, track->macs, 6);
	sum = add_words(0, &way.ip, sizeof(way.ip) / 4);
	way.ip.check = ~fold(sum);
	if (bpf_skb_adjust_room(skb, TUNNEL_BYTES, BPF_ADJ_ROOM_MAC, ENCAPSULATION) ||
	    bpf_skb_store_bytes(skb, 0, way.macs, WAY_BYTES, 0))
		return TC_ACT_SHOT;
	return endpoint->next ? bpf_redirect_peer(endpoint->exit, 0) :
				bpf_redirect(endpoint->exit, 0);
}

int back(struct __sk_buff *skb)
{
	struct cursor cursor = { (void *)(long)skb->data, (void *)(long)skb->data_end };
	__u32 zero = 0, hash, index, number;
	struct back_counters *counters = back_counters.lookup(&zero);
	struct settings *setting = settings.lookup(&zero);
	struct workers *all = workers.lookup(&zero);
	struct inner inner = {};
	struct endpoint *endpoint;
	struct track *track;
	struct sack sack;
	__u16 length, start;
	enum fate fate;
	__u8 *tcp;

	if (!counters || !setting || !all || !setting->follow || parse_inner(&cursor, &inner) ||
	    inner.protocol != IPPROTO_TCP)
		return TC_ACT_UNSPEC;
	tcp = (__u8 *)inner.ports;
	/* Nothing but an acknowledgement: RFC 9293's ACK, without PSH, URG, SYN, FIN, RST. */
	length = bare_length(&inner, tcp);
	if ((tcp[13] & 0x3f) != 0x10 || !length || skb->len != (__u32)length + ETH_HLEN)
		return TC_ACT_UNSPEC;
	counters->count[BACK_SEEN]++;
	hash = hash_of_other(&inner);
	index = hash & (MAX_FLOWS - 1);
	track = tracks.lookup(&index);
	if (track && track->hash != hash) {
		index ^= 1;
		track = tracks.lookup(&index);
	}
	if (!track || track->hash != hash)
		goto stock;
	index = track->endpoint;
	endpoint = endpoints.lookup(&index);
	if (!at_home(skb, endpoint))
		goto stock;
	/* Inside, too, it goes to where the frames come from. */
	if (!same_mac(inner.ethernet->h_dest, track->inner_macs + 6))
		goto stock;
	number = swap32(AT(__be32, tcp + 8));
	start = (__u16)(tcp - (__u8 *)(long)skb->data);
	if (find_sack(skb, start, (tcp[12] >> 4) * 4, number, &sack))
		goto stock;
	fate = setting->hold ? fate_of(track, number, &sack, setting, all, counters) : FATE_TELL;
	if (fate == FATE_DROP) {
		counters->count[BACK_DROPPED]++;
		return TC_ACT_SHOT;
	}
	if (fate == FATE_BLANK && blank_sack(skb, start, &sack) == 0)
		counters->count[BACK_BLANKED]++;
	if (!setting->back || !track->port) {
		counters->count[BACK_STOCK]++;
		return TC_ACT_UNSPEC;
	}
	counters->count[BACK_SHORT]++;
	return send_back(skb, track, endpoint, length);
stock:
	counters->count[BACK_STOCK]++;
	return TC_ACT_UNSPEC;
}
