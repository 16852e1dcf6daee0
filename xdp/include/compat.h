/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What differs between the headers we compile against, the kernel we run on, and the compilers.
 * Contract: the only place for version shims; each says since when it is needed.
 * 2026-11: only UAPI headers, for <linux/ip.h> is the kernel's internal one under bcc: it draws in the
 * whole network stack, a second of compilation, and structs of another version than the running kernel's.
 * 2026-11: OVERSPRAY_HOST, for the host's compiler (twin.c), whose headers have no uapi/.
 */
#ifndef OVERSPRAY_COMPAT_H
#define OVERSPRAY_COMPAT_H

#ifdef OVERSPRAY_HOST
#include <linux/types.h>
#include <stdbool.h>
#else
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/types.h>
#include <uapi/linux/udp.h>
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Hides from the compiler what it knows of a number, so that arithmetic stays arithmetic. */
#define OPAQUE(x) asm volatile("" : "+r"(x))

/* Keeps the compiler from merging or repeating accesses to what another core reads or writes. */
#define READ_SHARED(x) (*(const volatile __typeof__(x) *)&(x))

#endif
