// SPDX-License-Identifier: GPL-2.0-only
/*
 * The NIC stage under a fuzzer: the kernel's own text, over maps that are arrays, on frames that end where
 * their memory ends, so that a sanitizer sees every byte too far. An input is a frame behind one byte of
 * hints, by which it is mended first: nobody guesses checksums. With FUZZ_ALONE it has a main() that
 * takes files instead of the fuzzer's (tests/unit/test_fuzz.py).
 */
#include "bcc.h"
#include "../steer.bpf.c"
#include "../deliver.bpf.c"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADROOM 256
#define MOST_BYTES 4096
#define SECRET 0x1122334455667788ULL
#define VNI 42
#define PORT 4789

enum hint {
	HINT_MAC = 1,       /* the NIC's MAC outside */
	HINT_LENGTHS = 2,   /* lengths of the outer headers as the frame has them */
	HINT_SUM = 4,       /* a checksum in the outer IPv4 header that holds */
	HINT_TUNNEL = 8,    /* addresses, port, flags and VNI of a tunnel that is known */
	HINT_ENDPOINT = 16, /* the inner MAC of a container */
	HINT_GUARDED = 32,  /* senders are looked at */
	HINT_STREAM = 64,   /* streams are followed */
	HINT_SENDER = 128   /* the inner MAC of the sender that is fixed */
};

static const __u8 nic_mac[] = { 2, 0, 0, 0, 0, 1 }, box_mac[] = { 2, 0, 0, 0, 1, 1 };
static const __u8 ours[] = { 192, 0, 2, 1 }, theirs[] = { 192, 0, 2, 2 };

static void fail(const char *what)
{
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

/* One tunnel, one container by each delivery, one sender that is fixed, one worker. */
static void fill_maps(void)
{
	struct tunnel_key key = { .vni = VNI, .port = PORT };
	struct endpoint_key end = { .vni = VNI, .port = PORT };

	key.local[2] = key.remote[2] = swap32(0xffff);
	memcpy(&key.local[3], ours, 4);
	memcpy(&key.remote[3], theirs, 4);
	tunnels_rows[1] = (struct tunnel){ .key = key, .valid = 1 };
	tunnel_rows_rows[0].key = key;
	tunnel_rows_rows[0].value = tunnel_rows_used = 1;
	memcpy(end.mac, box_mac, ETH_ALEN);
	endpoints_rows[1] = (struct endpoint){ .key = end, .valid = 1, .delivery = DELIVERY_PEER };
	endpoint_rows_rows[0].key = end;
	endpoint_rows_rows[0].value = endpoint_rows_used = 1;
	end.mac[5] = 9;
	senders_rows[1] = (struct sender){ .key = end, .valid = 1 };
	memcpy(senders_rows[1].remote, key.local, sizeof(key.local));
	sender_rows_rows[0].key = end;
	sender_rows_rows[0].value = sender_rows_used = 1;
	workers_rows[0].count = 1;
	settings_rows[0].secret = SECRET;
	memcpy(settings_rows[0].mac, nic_mac, ETH_ALEN);
}

static void put16(__u8 *at, size_t value)
{
	at[0] = (__u8)(value >> 8);
	at[1] = (__u8)value;
}

/* Make a frame what the hints say, as far as it is long enough. */
static void mend(__u8 *frame, size_t size, __u8 hints)
{
	int v6 = size > 13 && frame[12] == 0x86 && frame[13] == 0xdd;
	size_t ip = 14, udp = ip + (v6 ? 40 : 20);

	if (hints & HINT_MAC && size >= 6)
		memcpy(frame, nic_mac, ETH_ALEN);
	if (size < udp + 16 + 14)
		return;
	if (hints & HINT_LENGTHS) {
		put16(frame + ip + (v6 ? 4 : 2), size - ip - (v6 ? 40 : 0));
		put16(frame + udp + 4, size - udp);
	}
	if (hints & HINT_TUNNEL && !v6) {
		memcpy(frame + ip + 12, theirs, 4);
		memcpy(frame + ip + 16, ours, 4);
		put16(frame + udp + 2, PORT);
		memset(frame + udp + 6, 0, 10);
		frame[udp + 8] = 8;
		frame[udp + 14] = VNI;
	}
	if (hints & HINT_ENDPOINT)
		memcpy(frame + udp + 16, box_mac, ETH_ALEN);
	if (hints & HINT_SENDER)
		memcpy(frame + udp + 16 + ETH_ALEN, senders_rows[1].key.mac, ETH_ALEN);
	if (hints & HINT_SUM && !v6) {
		memset(frame + ip + 10, 0, 2);
		*(__u16 *)(frame + ip + 10) = (__u16)~fold(add_words(0, frame + ip, 5));
	}
}

static __u64 counted(void)
{
	__u64 sum = 0;

	for (int i = STEER_SEEN + 1; i < STEER_COUNTERS; i++)
		sum += steer_counters_rows[0][0].count[i];
	return sum;
}

/* What has to hold of a frame that was taken off the stock path. */
static void examine(const struct xdp_md *ctx, const __u8 *frame, size_t size, int verdict)
{
	const struct proof *proof = (void *)ctx->data_meta;
	size_t left = ctx->data_end - ctx->data, off = size - left;

	if (verdict != XDP_PASS && verdict != XDP_REDIRECT)
		fail("a frame was stripped and not delivered");
	if (ctx->data - ctx->data_meta != sizeof(*proof) || proof->secret != SECRET)
		fail("a frame was stripped without a proof");
	if (off != 14 + 20 + 8 + 8)
		fail("another length than the tunnel's was taken off");
	if (memcmp((void *)ctx->data, box_mac, ETH_ALEN))
		fail("delivered to nobody's MAC");
	/* Only congestion mark and checksum of the inner IP header may have changed. */
	if (memcmp((void *)ctx->data, frame + off, 14) ||
	    memcmp((__u8 *)ctx->data + 14 + 40, frame + off + 14 + 40, left > 54 ? left - 54 : 0))
		fail("the inner packet was changed");
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	static int filled;
	__u8 *buffer, *frame, *copy;
	struct xdp_md ctx;
	__u64 before;
	int verdict;

	if (size < 1 || size > MOST_BYTES)
		return 0;
	if (!filled++)
		fill_maps();
	settings_rows[0].guarded = !!(data[0] & HINT_GUARDED);
	settings_rows[0].follow = !!(data[0] & HINT_STREAM);
	buffer = malloc(HEADROOM + size - 1); /* ends where the frame does */
	copy = malloc(size);
	if (!buffer || !copy)
		abort();
	frame = buffer + HEADROOM;
	memcpy(frame, data + 1, size - 1);
	mend(frame, --size, data[0]);
	memcpy(copy, frame, size);
	ctx = (struct xdp_md){ (__u64)frame, (__u64)frame + size, (__u64)frame, (__u64)buffer, 0 };
	before = counted();
	verdict = steer(&ctx);
	if (counted() != before + 1)
		fail("a frame was not counted once");
	if (ctx.data_meta < ctx.data)
		examine(&ctx, copy, size, verdict);
	else if (verdict != XDP_PASS || ctx.data != (__u64)frame || memcmp(frame, copy, size))
		fail("a frame for the stock path is not as it came");
	free(copy);
	free(buffer);
	return 0;
}

#ifdef FUZZ_ALONE
int main(int count, char **paths)
{
	static __u8 data[MOST_BYTES];

	for (int i = 1; i < count; i++) {
		FILE *file = fopen(paths[i], "rb");

		if (!file)
			return 2;
		LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof(data), file));
		fclose(file);
	}
	for (int i = 0; i < STEER_COUNTERS; i++)
		printf("%llu\n", (unsigned long long)steer_counters_rows[0][0].count[i]);
	return 0;
}
#endif
