/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What differs between the headers we compile against and the kernel we run on.
 * Contract: the only place for version shims; each says since when it is needed.
 * 2026-11: nothing of Linux 6.1's headers is missing for the programs here, but the fixed-width
 * names are the kernel's own, so that the same text compiles under bcc, clang and a host compiler.
 */
#ifndef OVERSPRAY_COMPAT_H
#define OVERSPRAY_COMPAT_H

#include <linux/types.h>

/* Under bcc <linux/ip.h> is the kernel's internal header, which draws in the whole network stack and
 * seconds of compilation; elsewhere it is the UAPI one, which is all we want. */
#if __has_include(<uapi/linux/ip.h>)
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>
#else
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#endif

/* Whether something at a place in the packet ends before the packet does. For the verifier of Linux 6.1,
 * which forgets what a test of a number in memory has told of the packet (2026-11; 6.12 does not):
 * where such a test was made before, this is always true. */
#define STILL_WITHIN(place, size, end) \
	LIKELY((const void *)((const char *)(place) + (size)) <= (const void *)(end))

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Hides from the compiler what it knows of a number, so that arithmetic stays arithmetic. */
#define OPAQUE(x) asm volatile("" : "+r"(x))

/* Keeps the compiler from merging or re-reading a value that another core writes. */
#define READ_SHARED(x) (*(volatile __typeof__(x) *)&(x))
#define WRITE_SHARED(x, value) (*(volatile __typeof__(x) *)&(x) = (value))

#endif
