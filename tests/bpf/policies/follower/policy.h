/* SPDX-License-Identifier: GPL-2.0-only
 *
 * follower: as witness, but it wants to know whether its flow is clear, and how pressed the core is.
 */
#include "../witness/policy.h"
