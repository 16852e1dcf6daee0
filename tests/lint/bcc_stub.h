/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What bcc adds to a program before it compiles it, as far as our programs use it, so that plain clang
 * can check them with all warnings on (tests/unit/test_lint.py). Extend it when a program needs more.
 */
#ifndef OVERSPRAY_BCC_STUB_H
#define OVERSPRAY_BCC_STUB_H

#include <linux/bpf.h>
#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

/* Maps. bcc's array keys are int, but it accepts any 4 bytes; ours are __u32. */
#define BPF_F_TABLE(table_type, key_type, leaf_type, name, entries, flags_)                        \
	struct name##_table_t {                                                                    \
		leaf_type *(*lookup)(key_type *);                                                  \
		leaf_type *(*lookup_or_try_init)(key_type *, leaf_type *);                         \
		int (*update)(key_type *, leaf_type *);                                            \
		int (*insert)(key_type *, leaf_type *);                                            \
		int (*delete)(key_type *);                                                         \
		void (*increment)(key_type, ...);                                                  \
		void (*atomic_increment)(key_type, ...);                                           \
		u32 max_entries;                                                                   \
		int flags;                                                                         \
	} name = { .max_entries = (entries), .flags = (flags_) }
#define BPF_TABLE(table_type, key_type, leaf_type, name, entries)                                  \
	BPF_F_TABLE(table_type, key_type, leaf_type, name, entries, 0)
#define BPF_ARRAY(name, leaf_type, entries) BPF_TABLE("array", u32, leaf_type, name, entries)
#define BPF_PERCPU_ARRAY(name, leaf_type, entries)                                                 \
	BPF_TABLE("percpu_array", u32, leaf_type, name, entries)
#define BPF_HASH(name, key_type, leaf_type, entries)                                               \
	BPF_TABLE("hash", key_type, leaf_type, name, entries)
#define BPF_PERCPU_HASH(name, key_type, leaf_type, entries)                                        \
	BPF_TABLE("percpu_hash", key_type, leaf_type, name, entries)
#define BPF_XDP_REDIRECT_MAP(table_type, leaf_type, name, entries)                                 \
	struct name##_table_t {                                                                    \
		leaf_type leaf;                                                                    \
		u64 (*redirect_map)(int, int);                                                     \
		u32 max_entries;                                                                   \
	} name = { .max_entries = (entries) }
#define BPF_DEVMAP(name, entries) BPF_XDP_REDIRECT_MAP("devmap", int, name, entries)
#define BPF_CPUMAP(name, entries) BPF_XDP_REDIRECT_MAP("cpumap", u32, name, entries)

/* Helpers, as libbcc declares them. */
u64 bpf_ktime_get_ns(void);
u64 bpf_get_smp_processor_id(void);
u32 bpf_get_prandom_u32(void);
u64 bpf_get_current_pid_tgid(void);
int bpf_get_current_comm(void *to, int size);
int bpf_xdp_adjust_head(void *ctx, int offset);
int bpf_xdp_adjust_meta(void *ctx, int offset);
int bpf_xdp_adjust_tail(void *ctx, int offset);
int bpf_skb_load_bytes(void *ctx, int offset, void *to, u32 len);
int bpf_skb_store_bytes(void *ctx, int offset, const void *from, u32 len, u64 flags);
int bpf_skb_adjust_room(void *ctx, int bytes, u32 mode, u64 flags);
int bpf_l4_csum_replace(void *ctx, int offset, u64 from, u64 to, u64 flags);
u32 bpf_get_hash_recalc(void *ctx);
int bpf_redirect(int ifindex, u32 flags);
int bpf_redirect_peer(int ifindex, u32 flags);
int bpf_csum_diff(void *from, u64 from_size, void *to, u64 to_size, u64 seed);
int bpf_probe_read_kernel(void *dst, u32 size, const void *from);

/* Tracepoints: bcc makes the structures from tracefs; here only the fields that our programs read. */
#define TRACEPOINT_PROBE(category, event)                                                          \
	int tracepoint__##category##__##event(struct tracepoint__##category##__##event *args)
#define RAW_TRACEPOINT_PROBE(event) int raw_tracepoint__##event(struct bpf_raw_tracepoint_args *ctx)

struct tracepoint__xdp__xdp_cpumap_enqueue {
	int map_id;
	u32 act;
	int cpu;
	unsigned int drops;
	unsigned int processed;
	int to_cpu;
};

struct tracepoint__xdp__xdp_cpumap_kthread {
	int map_id;
	u32 act;
	int cpu;
	unsigned int drops;
	unsigned int processed;
	int sched;
	unsigned int xdp_pass;
	unsigned int xdp_drop;
	unsigned int xdp_redirect;
};

struct tracepoint__irq__softirq_entry {
	unsigned int vec;
};

struct tracepoint__irq__softirq_exit {
	unsigned int vec;
};

struct tracepoint__irq__softirq_raise {
	unsigned int vec;
};

struct tracepoint__napi__napi_poll {
	void *napi;
	int work;
	int budget;
};

struct tracepoint__sched__sched_switch {
	int prev_pid;
	int prev_prio;
	long prev_state;
	int next_pid;
	int next_prio;
};

struct tracepoint__skb__kfree_skb {
	void *skbaddr;
	void *location;
	unsigned short protocol;
	int reason;
};

#endif
