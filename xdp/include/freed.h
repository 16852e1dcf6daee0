/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What the kernel frees, by place and reason.
 * Contract: the reason is a number of the running kernel's enum skb_drop_reason, the place an address in its
 * text. Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_FREED_H
#define OVERSPRAY_FREED_H

#define FREED_PLACES 1024  /* pairs that are told apart; more are counted as FREED_UNNAMED */
#define FREED_WATCHED 1024 /* namespaces */

struct freed {
	__u64 place;
	__u64 reason;
};

#endif
