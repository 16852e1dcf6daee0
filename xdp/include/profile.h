/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What the sampler keeps.
 * Contract: a sample is counted under the number that its kernel stack has in the map of stacks.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_PROFILE_H
#define OVERSPRAY_PROFILE_H

#define PROFILE_STACKS 16384
#define PROFILE_DEPTH 127 /* PERF_MAX_STACK_DEPTH */

struct profile_stack {
	__u64 address[PROFILE_DEPTH]; /* the innermost first; zeros behind the outermost */
};

#endif
