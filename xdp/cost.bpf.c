// SPDX-License-Identifier: GPL-2.0-only
/*
 * The NIC stage cut off after each of its parts, for `overspray cost`. Compiled together with steer.bpf.c.
 */

int cost_nothing(struct xdp_md *ctx)
{
	return steered(ctx, STAGE_NOTHING);
}

int cost_parse(struct xdp_md *ctx)
{
	return steered(ctx, STAGE_PARSE);
}

int cost_classify(struct xdp_md *ctx)
{
	return steered(ctx, STAGE_CLASSIFY);
}

int cost_policy(struct xdp_md *ctx)
{
	return steered(ctx, STAGE_POLICY);
}
