/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What the observers count on each core, and whom they charge its time to.
 * Contract: a core writes only its own numbers, and they only grow; times in ns. Every moment of a
 * core belongs either to one softirq vector or to one kind of thread, never to both.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_OBSERVE_H
#define OVERSPRAY_OBSERVE_H

#define WATCHED_THREADS 1024
#define WHY_REASONS 256 /* the last one: all others */

enum observe_counter {
	OBSERVE_POLLS,           /* NAPI polls */
	OBSERVE_POLLED,          /* packets that they took */
	OBSERVE_BULKS,           /* bulks of frames that a cpumap thread took out of its queue */
	OBSERVE_BULKED,          /* frames in them */
	OBSERVE_SLEEPS,          /* times that a cpumap thread found its queue empty and slept */
	OBSERVE_SWITCHES,        /* context switches: a thread went to sleep */
	OBSERVE_PREEMPTIONS,     /* context switches: a thread that could have gone on made way */
	OBSERVE_DROP_MEMORY,     /* frames lost in a cpumap thread: no memory for an skb */
	OBSERVE_DROP_REFUSED,    /* redirected frames that their device did not take (no NAPI, down) */
	OBSERVE_DROP_REDIRECT,   /* frames that could not be redirected, by a cpumap thread or the wire */
	OBSERVE_DROP_EXCEPTION,  /* frames on which an XDP program gave up */
	OBSERVE_COUNTERS
};

/* Whose time it was while no softirq ran. */
enum observe_kind {
	OBSERVE_IDLE,            /* nobody's */
	OBSERVE_WIRE,            /* the wire's threads */
	OBSERVE_APPLICATION,     /* threads that read the packets */
	OBSERVE_CPUMAP,          /* the kernel's cpumap threads: packets handed over by XDP */
	OBSERVE_NAPI,            /* the kernel's threads of threaded NAPI */
	OBSERVE_NEIGHBOUR,       /* a busy neighbour that was asked for */
	OBSERVE_OTHER,           /* all others */
	OBSERVE_KINDS
};

enum softirq_vector {
	SOFTIRQ_HI,              /* urgent tasklets */
	SOFTIRQ_TIMER,           /* timers */
	SOFTIRQ_NET_TX,          /* sent packets, and queues to be tried again */
	SOFTIRQ_NET_RX,          /* received packets: NAPI */
	SOFTIRQ_BLOCK,           /* disks */
	SOFTIRQ_IRQ_POLL,        /* disks, polled */
	SOFTIRQ_TASKLET,         /* tasklets */
	SOFTIRQ_SCHED,           /* balancing of threads over the cores */
	SOFTIRQ_HRTIMER,         /* precise timers */
	SOFTIRQ_RCU,             /* memory that nobody reads any more */
	SOFTIRQ_VECTORS
};

struct observed {
	__u64 count[OBSERVE_COUNTERS];
	__u64 ran[OBSERVE_KINDS];
	__u64 entries[SOFTIRQ_VECTORS];
	__u64 raised[SOFTIRQ_VECTORS];
	__u64 served[SOFTIRQ_VECTORS]; /* time in each vector */
	__u64 since;   /* when the running softirq, or else thread, went on */
	__u64 pending; /* what the running thread had before softirqs interrupted it */
	__u64 vector;  /* of the running softirq, plus 1; 0: none is running */
};

#endif
