/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What differs between the headers we compile against, the kernel we run on, and the compilers.
 * Contract: the only place for version shims; each says since when it is needed.
 * 2026-11: only UAPI headers, for <linux/ip.h> is the kernel's internal one under bcc: it draws in the
 * whole network stack, a second of compilation, and structs of another version than the running kernel's.
 */
#ifndef OVERSPRAY_COMPAT_H
#define OVERSPRAY_COMPAT_H

#include <uapi/linux/bpf.h>
#include <uapi/linux/types.h>
#include <uapi/linux/udp.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))

#endif
