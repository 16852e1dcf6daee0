/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What the programs of one unit (steer.bpf.c, deliver.bpf.c, reconcile.bpf.c) share: its maps, and how a
 * tunnel is taken off.
 * Contract: they are compiled as one text. No function here may touch a map: bcc rewrites such calls in the
 * sources alone.
 */
#ifndef OVERSPRAY_UNIT_H
#define OVERSPRAY_UNIT_H

#include "counters.h"
#include "maps.h"
#include "policy.h"
#include "proof.h"
#include "vxlan.h"

struct steer_counters {
	__u64 count[STEER_COUNTERS];
};

struct deliver_counters {
	__u64 count[DELIVER_COUNTERS];
};

/* Frames that XDP redirects, on this core, to containers' veths: told by `on_devmap_xmit`. */
struct pending {
	__u64 frames;
};

BPF_ARRAY(settings, struct settings, 1);
BPF_ARRAY(workers, struct workers, 1);
BPF_ARRAY(slot_of_core, __u32, CORES); /* 0: no worker */
BPF_PERCPU_ARRAY(pending, struct pending, 1);
BPF_PERCPU_ARRAY(steer_counters, struct steer_counters, 1);
BPF_PERCPU_ARRAY(deliver_counters, struct deliver_counters, 1);
/* bcc's BPF_CPUMAP has a leaf of 4 bytes, and so no room for a program. */
BPF_XDP_REDIRECT_MAP("cpumap", struct bpf_cpumap_val, cpumap, CORES);
BPF_XDP_REDIRECT_MAP("devmap", struct bpf_devmap_val, devmap, MAX_PATHS);

/* Take so many bytes of the tunnel's headers off: from here on the frame is the inner one, and the proof in front of it is its metadata,
 * in place of what a driver may have put there. */
static ALWAYS_INLINE int strip(struct xdp_md *ctx, int bytes)
{
	long there = (long)ctx->data - (long)ctx->data_meta;

	return bpf_xdp_adjust_head(ctx, bytes) ||
	       bpf_xdp_adjust_meta(ctx, (int)(there - (long)sizeof(struct proof)));
}

#endif
