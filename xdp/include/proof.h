/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Metadata that travels in front of a frame from the NIC stage to the worker and on into the skb.
 * Contract: a frame without it, or with another secret, was not stripped by us. It says only what
 * is the same for all packets of a flow on one path, for GRO does not merge packets whose metadata
 * differ. At most 32 bytes: older kernels take no more.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_PROOF_H
#define OVERSPRAY_PROOF_H

struct proof {
	__u64 secret;   /* drawn at random when the datapath is attached */
	__u32 delivery; /* enum delivery */
	__u32 port;     /* as struct endpoint */
	__u32 device;
	__u32 next;
	__u32 slot;     /* which path it takes */
	__u32 unit;     /* whose slot: settings.cpumap of the program that stripped it */
};

#endif
