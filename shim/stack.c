/* stack.c: see stack.h. */
#define _GNU_SOURCE
#include "stack.h"

#include "confined.h"
#include "pools/os.h"

/* Where the kernel put the program's arguments: the main thread's first frame is below. */
extern void *__libc_stack_end __attribute__((weak));

#define PAGE_MASK (~(uintptr_t)4095) /* the smallest page there is */

enum {
	MAIN_BYTES = 64 << 20, /* the kernel keeps at least 128 MiB free for the main stack to grow into */
	ASK_BYTES = 4 << 20,   /* deeper than that it would be more than 1000 questions */
	REFUSALS_MAX = 16
};

__thread struct stack_known stack_known __attribute__((tls_model("initial-exec")));
static __thread uintptr_t refused_at; /* a page that was asked for in vain */
static __thread unsigned refusals;

static void know(uintptr_t low, uintptr_t limit)
{
	stack_known = (struct stack_known){.low = low, .span = limit - low - (sizeof(uintptr_t) - 1)};
}

static bool is_main(uintptr_t frame)
{
	uintptr_t end = &__libc_stack_end ? (uintptr_t)__libc_stack_end : 0;
	return end > MAIN_BYTES && frame - (end - MAIN_BYTES) < MAIN_BYTES;
}

/* Every page from the frame's to what is known already, or else to the thread's own variables. */
static void ask(uintptr_t frame)
{
	uintptr_t own = (uintptr_t)&stack_known, low = frame & PAGE_MASK;
	bool deeper = stack_known.span && frame < stack_known.low;
	uintptr_t limit = deeper ? stack_known.low : own;
	char byte;
	if (frame >= own || limit - low > ASK_BYTES || refused_at == low || refusals >= REFUSALS_MAX || confined())
		return;
	for (uintptr_t page = low; page < limit; page += ~PAGE_MASK + 1)
		if (!os_peek(&byte, (const void *)(page > frame ? page : frame), 1)) {
			refused_at = low;
			refusals++;
			return;
		}
	know(low, own);
}

bool stack_may_read(uintptr_t frame, uintptr_t slot)
{
	if (slot < frame)
		return false;
	if (stack_holds(slot) || ((slot + sizeof(slot) - 1) & PAGE_MASK) == (frame & PAGE_MASK))
		return true;
	if (is_main(frame))
		know((uintptr_t)__libc_stack_end - MAIN_BYTES, (uintptr_t)__libc_stack_end);
	else
		ask(frame);
	return stack_holds(slot);
}
