/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What user space tells the wire, and what the wire remembers.
 * Contract: one wire thread writes the state; user space does so only between two calls.
 * HEADER_BYTES, the length of all headers, is given by the compilation, for it is the size of a copy.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_WIRE_H
#define OVERSPRAY_WIRE_H

#define WIRE_WORDS 17 /* 136 bytes: outer and inner IPv6 headers take 132 */

struct wire_config {
	__u64 header[WIRE_WORDS]; /* all headers; the UDP source port and checksum are filled in */
	__u32 sum;        /* ones' complement sum of what the UDP checksum covers besides port and stamp */
	__u32 flows;      /* sent in turn */
	__u32 first_port; /* UDP source port of flow 0 */
	__u32 run;        /* for the stamp */
	__u32 batch;      /* frames a kernel batch */
	__u32 tgid;       /* the sending process, in the pid namespace below */
	__u32 port_id;    /* of the map wire_port */
	__u32 pad;
	__u64 pid_device; /* st_dev and st_ino of /proc/self/ns/pid */
	__u64 pid_inode;
};

struct wire_state {
	__u64 now;      /* at the start of this kernel batch */
	__u32 turn;     /* frame within the kernel batch */
	__u32 flow;     /* of the next frame */
	__u32 sequence; /* of the next frame */
	__u32 pad;
};

#endif
