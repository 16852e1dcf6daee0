/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Where each core's time goes.
 * Contract: every moment of a core belongs to exactly one kind, so that between two readings the times of all
 * kinds grow by what `since` does, to the ns. Hard interrupts, and what the hypervisor took, belong to what
 * they interrupted. A core writes only its own times, and they only grow. Declarations only: Python reads
 * this file.
 */
#ifndef OVERSPRAY_OBSERVE_H
#define OVERSPRAY_OBSERVE_H

#define OBSERVE_THREADS 1024 /* that can be watched */

enum observe_kind {
	KIND_IDLE,    /* nobody's */
	KIND_SOFTIRQ, /* softirqs of all vectors, in whichever thread they run; threads that poll a device */
	KIND_WIRE,    /* watched threads: what stands for the other machine */
	KIND_CPUMAP,  /* the kernel's cpumap threads, known by their name */
	KIND_READER,  /* watched threads: the application that reads */
	KIND_OTHER,   /* all other threads */
	KINDS
};

struct observed {
	__u64 ns[KINDS]; /* time by kind */
	__u64 since;     /* up to when all is charged, CLOCK_MONOTONIC ns; 0: this core is not observed */
	__u64 softirq;   /* whether one is running */
	__u64 turn;      /* odd while any of this is changed */
};

#endif
