// SPDX-License-Identifier: GPL-2.0-only
/*
 * The twin of a policy: the text that steer.bpf.c includes, compiled by the host's compiler into a shared object.
 * A batch walks a whole trace (trace.h); twin_slot is the decision alone. What would end the process, as a
 * division by zero or a loop without an end, ends the batch instead, and `struct twin_fault` says what it was.
 * One batch at a time in a process, for signals are the process's: the caller holds Python's lock meanwhile.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "compat.h"
#include "maps.h"
#include "policy.h"

struct knobs {
	KNOBS /* generated from the policy's Python half */
};

#include POLICY
#include "decide.h"

_Static_assert(sizeof(struct policy_flow) <= FLOW_STATE_BYTES, "struct policy_flow is too large");

#define NOBODY 0xffffffff

const __u32 twin_flow_bytes = sizeof(struct policy_flow);
const __u32 twin_core_bytes = sizeof(struct policy_core);

static sigjmp_buf out;
static pthread_t owner;
static struct twin_fault fault;

/* The timer's may come to any thread; any other is of the thread that it comes to. */
static void on_signal(int number)
{
	if (!pthread_equal(pthread_self(), owner)) {
		if (number == SIGVTALRM)
			pthread_kill(owner, number);
		else
			signal(number, SIG_DFL);
		return;
	}
	fault.signal = (__u32)number;
	siglongjmp(out, 1);
}

/* What code made by -fsanitize calls: the place stands first in its data (as in the kernel's lib/ubsan.h). */
struct place {
	const char *file;
	__u32 line;
	__u32 column;
};

static void found(const struct place *place, const char *kind)
{
	fault.kind = (__u64)(unsigned long)kind;
	fault.file = (__u64)(unsigned long)place->file;
	fault.line = place->line;
	siglongjmp(out, 1);
}

void __ubsan_handle_divrem_overflow(void *place, void *left, void *right)
{
	(void)left, (void)right;
	found(place, "division by zero");
}

void __ubsan_handle_shift_out_of_bounds(void *place, void *left, void *right)
{
	(void)left, (void)right;
	found(place, "shift by more bits than there are");
}

void __ubsan_handle_out_of_bounds(void *place, void *index)
{
	(void)index;
	found(place, "index out of bounds");
}

static const int caught[] = { SIGFPE, SIGSEGV, SIGBUS, SIGILL, SIGVTALRM };
#define CAUGHT (sizeof(caught) / sizeof(*caught))

/* For so many seconds of this process's own time. */
static void guard(struct sigaction *before, unsigned int seconds)
{
	struct sigaction ours = { .sa_handler = on_signal };
	struct itimerval timer = { .it_value.tv_sec = seconds };

	owner = pthread_self();
	memset(&fault, 0, sizeof(fault));
	for (unsigned int n = 0; n < CAUGHT; n++)
		sigaction(caught[n], &ours, &before[n]);
	setitimer(ITIMER_VIRTUAL, &timer, 0);
}

static void unguard(const struct sigaction *before)
{
	struct itimerval none = {};

	setitimer(ITIMER_VIRTUAL, &none, 0);
	for (unsigned int n = 0; n < CAUGHT; n++)
		sigaction(caught[n], &before[n], 0);
}

/* The packets of a trace that wait, by slot, first in first out: `next` chains them, `number` is the place that
 * each got among all that its queue had room for. */
struct queues {
	__u32 head[MAX_WORKERS];
	__u32 tail[MAX_WORKERS];
	__u32 *next;
	__u64 *number;
	__u32 *left;
	__u32 clock;
};

static void queued(struct queues *queues, __u32 place, __u32 at, __u64 number)
{
	queues->number[at] = number;
	queues->next[at] = NOBODY;
	if (queues->head[place] == NOBODY)
		queues->head[place] = at;
	else
		queues->next[queues->tail[place]] = at;
	queues->tail[place] = at;
}

/* Those leave that the worker has taken out. */
static void leave(struct queues *queues, __u32 place, __u64 done)
{
	while (queues->head[place] != NOBODY && queues->number[queues->head[place]] < done) {
		queues->left[queues->head[place]] = ++queues->clock;
		queues->head[place] = queues->next[queues->head[place]];
	}
}

/* One packet. What was taken out before it leaves before it; a local one leaves at once. */
static __u32 walked(struct queues *queues, __u32 at, const struct step *step, const struct packet *packet,
		    const struct knobs *knobs, struct policy_flow *flow, struct policy_core *core,
		    struct workers *workers)
{
	__u32 slot = decide_step(step, packet, knobs, flow, core, workers);

	for (__u32 place = 0; place < workers->count; place++)
		if (step->worker == EVERY_WORKER || step->worker == place)
			leave(queues, place, workers->worker[place].done);
	queues->left[at] = slot == LOCAL_SLOT ? ++queues->clock : 0;
	if (step_queued(workers, slot, step)) {
		const struct worker *worker = &workers->worker[slot - 1];

		queued(queues, slot - 1, at, worker->sent - worker->lost - 1);
	}
	return slot;
}

/* Decide on so many packets: each one's slot, and as which one it left, from 1 on; 0: lost, or refused. At the
 * end all queues empty, one after the other. `next` and `number` are scratch. Returns 0, or 1: see the fault. */
int twin_run(const struct packet *packets, const struct step *steps, __u32 count, const struct knobs *knobs,
	     struct policy_flow *flows, struct policy_core *cores, struct workers *workers, __u32 *slots,
	     __u32 *left, __u32 *next, __u64 *number, __u32 seconds, struct twin_fault *why)
{
	static struct sigaction before[CAUGHT];
	static struct queues queues;

	memset(&queues, 0, sizeof(queues));
	memset(queues.head, 0xff, sizeof(queues.head)); /* NOBODY */
	queues.next = next;
	queues.number = number;
	queues.left = left;
	guard(before, seconds);
	if (sigsetjmp(out, 1)) {
		unguard(before);
		*why = fault;
		return 1;
	}
	for (__u32 at = 0; at < count; at++) {
		fault.step = at;
		slots[at] = walked(&queues, at, &steps[at], &packets[at], knobs,
				   &flows[packets[at].flow & (MAX_FLOWS - 1)],
				   &cores[steps[at].core & (TRACE_CORES - 1)], workers);
	}
	for (__u32 place = 0; place < workers->count; place++)
		leave(&queues, place, ~0ULL);
	unguard(before);
	return 0;
}

/* The decision alone; never made a part of a loop, which a compiler might then do without. */
__attribute__((noinline)) __u32 twin_slot(const struct packet *packet, const struct knobs *knobs,
					   struct policy_flow *flow, struct policy_core *core,
					   const struct workers *workers)
{
	return policy_slot(packet, knobs, flow, core, workers);
}

/* Decisions alone, one after the other, for their cost; what they add up to. */
__u64 twin_decide(const struct packet *packets, __u32 count, const struct knobs *knobs, struct policy_flow *flows,
		  struct policy_core *core, const struct workers *workers)
{
	__u64 sum = 0;

	for (__u32 at = 0; at < count; at++)
		sum += twin_slot(&packets[at], knobs, &flows[packets[at].flow & (MAX_FLOWS - 1)], core, workers);
	return sum;
}
