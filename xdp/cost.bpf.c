// SPDX-License-Identifier: GPL-2.0-only
/*
 * The NIC stage with an end after each of its parts, for `overspray cost`: the same text as the real
 * program, told at run time how far to go. A test run does not give the frame back as it was, so what
 * was stripped is put on again; what that takes is measured by doing nothing but both.
 * Compiled together with steer.bpf.c.
 */
#define TUNNEL_BYTES 50 /* Ethernet, IPv4, UDP, VXLAN */
#define REWIND_ALONE 100

struct cost_settings {
	__u32 last; /* enum stage, or REWIND_ALONE */
	__u32 pad;
	struct proof under; /* what the frame has where the proof is put */
};

BPF_ARRAY(cost_settings, struct cost_settings, 1);

static ALWAYS_INLINE int rewind(struct xdp_md *ctx, const struct cost_settings *setting)
{
	struct proof *place;

	if (bpf_xdp_adjust_meta(ctx, sizeof(struct proof)) ||
	    bpf_xdp_adjust_head(ctx, -TUNNEL_BYTES))
		return XDP_ABORTED;
	place = (void *)(long)ctx->data + TUNNEL_BYTES - sizeof(*place);
	if ((void *)(place + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	*place = setting->under;
	return XDP_DROP;
}

int cost(struct xdp_md *ctx)
{
	struct endpoint nowhere = {};
	struct settings nobody = {};
	__u32 zero = 0;
	struct cost_settings *setting = cost_settings.lookup(&zero);
	int verdict;

	if (!setting)
		return XDP_ABORTED;
	if (setting->last == STAGE_NOTHING)
		return XDP_DROP;
	if (setting->last == REWIND_ALONE)
		return strip(ctx, TUNNEL_BYTES, &nowhere, &nobody, 0) ? XDP_ABORTED : rewind(ctx, setting);
	verdict = steered(ctx, setting->last);
	return setting->last == STAGE_ALL ? rewind(ctx, setting) : verdict;
}
