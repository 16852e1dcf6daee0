/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What a policy's contract forbids and a CPU may trap on is caught by the compiler's own checks
 * (-fsanitize), whose reports end here.
 * Contract: whoever calls a policy does __builtin_setjmp(before_decision) first; where that returns 1
 * there was no decision, and take_fault() says why. For one source of a shared object.
 */
#ifndef OVERSPRAY_FAULT_H
#define OVERSPRAY_FAULT_H

#include <linux/types.h>

struct place {
	const char *file;
	__u32 line;
	__u32 column;
};

struct fault {
	const char *what; /* NULL: none */
	const char *file;
	__u64 line;
};

static __thread struct fault fault;
static __thread void *before_decision[5];

/* The check names its place first, in all three reports. */
static void give_up(const char *what, const void *check)
{
	const struct place *place = check;

	fault.what = what;
	fault.file = place->file;
	fault.line = place->line;
	__builtin_longjmp(before_decision, 1);
}

void __ubsan_handle_divrem_overflow(void *check, void *left, void *right)
{
	(void)left, (void)right;
	give_up("division by zero", check);
}

void __ubsan_handle_shift_out_of_bounds(void *check, void *left, void *right)
{
	(void)left, (void)right;
	give_up("shift by as many bits as the number has, or more", check);
}

void __ubsan_handle_out_of_bounds(void *check, void *index)
{
	(void)index;
	give_up("index out of bounds", check);
}

/* The last fault, which is then forgotten. */
struct fault take_fault(void)
{
	struct fault taken = fault;

	fault.what = 0;
	return taken;
}

#endif
