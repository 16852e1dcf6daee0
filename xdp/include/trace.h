/* SPDX-License-Identifier: GPL-2.0-only
 *
 * A trace: what happens around a policy, packet by packet, the same in the kernel and in user space.
 * Contract: a trace is as many packets (policy.h) as steps; a step says what the workers did before its packet
 * was decided on. What the policy answers is queued, so backlogs follow from both. decide.h carries it out. What a
 * full queue loses is in `lost` at once; in the kernel, a bulk of frames later.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_TRACE_H
#define OVERSPRAY_TRACE_H

#define TRACE_CORES 4           /* NIC cores, a power of two */
#define TRACE_KERNEL 10000      /* packets of a trace that the kernel's half takes */
#define EVERY_WORKER 0xffffffff /* in place of one: all of them run */

struct step {
	__u32 core;   /* NIC core that has the packet */
	__u32 worker; /* place of the worker that runs; none where there are not so many */
	__u32 others; /* packets of others that come into its queue first */
	__u32 take;   /* then it takes out so many, or all */
	__u32 room;   /* packets that a queue holds; what comes to a full one is lost */
	__u32 pad;
};

/* Why twin.c ended a batch early; `kind` and `file` are addresses of text. */
struct twin_fault {
	__u64 kind;
	__u64 file;
	__u32 line;
	__u32 step;   /* at which packet */
	__u32 signal; /* that ended it; 0: the compiler's check found `kind` in that line */
	__u32 pad;
};

#endif
