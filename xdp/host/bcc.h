/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What bcc and the kernel give our XDP programs, for a user-space process: maps are arrays of the
 * shared object (NAME_rows, which the owner of the object fills), helpers are functions.
 * Contract: included before a program. Each thread says which core it stands for. A hash map is
 * searched from its start: it is asked only where a flow's hint was wrong.
 */
#ifndef OVERSPRAY_BCC_H
#define OVERSPRAY_BCC_H

#define xdp_md kernel_xdp_md /* its pointers have 32 bits */
#include <linux/bpf.h>
#undef xdp_md
#include <linux/types.h>

struct xdp_md {
	__u64 data;
	__u64 data_end;
	__u64 data_meta;
	__u64 start; /* of the buffer: metadata ends there */
	__u32 rx_queue_index;
};

static __thread __u32 this_core;
static __thread __u64 this_time;

#define ARRAY_OF(name, type, count, rows)                                                          \
	static inline type *name##_lookup(const __u32 *key)                                        \
	{                                                                                          \
		return *key < (count) ? &(rows)[*key] : 0;                                         \
	}                                                                                          \
	static const struct {                                                                      \
		type *(*lookup)(const __u32 *key);                                                 \
	} name = { name##_lookup }

#define BPF_ARRAY(name, type, count)                                                               \
	type name##_rows[count];                                                                   \
	ARRAY_OF(name, type, count, name##_rows)

#define BPF_PERCPU_ARRAY(name, type, count)                                                        \
	type name##_rows[CORES][count];                                                            \
	ARRAY_OF(name, type, count, name##_rows[this_core])

#define BPF_HASH(name, key_type, value_type, count)                                                \
	struct {                                                                                   \
		key_type key;                                                                      \
		value_type value;                                                                  \
	} name##_rows[count];                                                                      \
	__u32 name##_used;                                                                         \
	static inline value_type *name##_lookup(const key_type *key)                               \
	{                                                                                          \
		for (__u32 row = 0; row < name##_used; row++)                                      \
			if (!__builtin_memcmp(&name##_rows[row].key, key, sizeof(*key)))           \
				return &name##_rows[row].value;                                    \
		return 0;                                                                          \
	}                                                                                          \
	static const struct {                                                                      \
		value_type *(*lookup)(const key_type *key);                                        \
	} name = { name##_lookup }

/* Where a frame goes stands in its proof. */
#define BPF_XDP_REDIRECT_MAP(kind, type, name, count)                                              \
	static inline int name##_redirect(__u64 key, __u64 flags)                                  \
	{                                                                                          \
		(void)flags;                                                                       \
		return key < (count) ? XDP_REDIRECT : XDP_ABORTED;                                 \
	}                                                                                          \
	static const struct {                                                                      \
		int (*redirect_map)(__u64 key, __u64 flags);                                       \
	} name = { name##_redirect }

static inline __u64 bpf_ktime_get_ns(void)
{
	return this_time;
}

static inline __u32 bpf_get_smp_processor_id(void)
{
	return this_core;
}

/* At least an Ethernet header is left, as in the kernel. */
static inline int bpf_xdp_adjust_head(struct xdp_md *ctx, int by)
{
	__u64 data = ctx->data + by;

	if (data < ctx->start || data + 14 > ctx->data_end)
		return -1;
	ctx->data = data;
	ctx->data_meta = data;
	return 0;
}

static inline int bpf_xdp_adjust_meta(struct xdp_md *ctx, int by)
{
	__u64 meta = ctx->data_meta + by;

	if (meta < ctx->start || meta > ctx->data)
		return -1;
	ctx->data_meta = meta;
	return 0;
}

#endif
