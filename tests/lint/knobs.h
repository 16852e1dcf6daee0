/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Stands for the knobs that are generated from a policy's Python half.
 */
struct knobs {
	__u32 unused;
};
