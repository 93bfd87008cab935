/* A signal handler that allocates, frees what main allocated and leaves blocks that main frees. malloc is not safe in a
 * handler that interrupted malloc; here, as in programs that get away with it, the handler runs while main is elsewhere: by
 * raise(), and by a timer that is blocked around each call of the allocator. On the alternate stack too.
 */
#include "victim.h"

#include <signal.h>
#include <sys/time.h>

enum { SLOTS = 64, ROUNDS = 3000 };

static void *shared[SLOTS];
static volatile sig_atomic_t handled;

static void handler(int signal_number)
{
	int saved = errno;
	int at = handled++ % SLOTS;
	size_t n = (size_t)(handled * 37 % 3000);
	(void)signal_number;
	free(shared[at]);
	shared[at] = malloc(n);
	if (!shared[at]) {
		_exit(43);
	}
	fill(shared[at], n, (uint64_t)at);
	free(kept(calloc(1, n * 3)));
	CHECK(errno == saved, "errno became %d in a handler", errno);
}

static void install(int signal_number, int flags)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags};
	CHECK(sigaction(signal_number, &act, NULL) == 0, "sigaction");
}

static void by_raise(int signal_number)
{
	for (int i = 0; i < ROUNDS; i++) {
		void *p = malloc((size_t)i);
		CHECK(raise(signal_number) == 0, "raise");
		free(p);
		if (i % 3 == 0) {
			free(shared[i % SLOTS]);
			shared[i % SLOTS] = NULL;
		}
	}
}

static void by_timer(void)
{
	sigset_t alarm_set, old;
	sigemptyset(&alarm_set);
	sigaddset(&alarm_set, SIGALRM);
	struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
	setitimer(ITIMER_REAL, &often, NULL);
	volatile uint64_t sum = 0;
	int until = handled + 500;
	for (int i = 0; handled < until; i++) {
		sigprocmask(SIG_BLOCK, &alarm_set, &old);
		void *p = malloc((size_t)i % 5000);
		CHECK(p, "malloc gives NULL");
		free(p);
		sigprocmask(SIG_SETMASK, &old, NULL);
		for (int k = 0; k < 1000; k++) { /* the program's own work, where the signal may come */
			sum += (uint64_t)k * (uint64_t)i;
		}
	}
	setitimer(ITIMER_REAL, &never, NULL);
	(void)sum;
}

int main(void)
{
	static char stack[64 * 1024];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	install(SIGUSR1, 0);
	install(SIGALRM, SA_RESTART);
	by_raise(SIGUSR1);
	by_timer();
	CHECK(sigaltstack(&alternate, NULL) == 0, "sigaltstack");
	install(SIGUSR2, SA_ONSTACK);
	install(SIGALRM, SA_RESTART | SA_ONSTACK);
	by_raise(SIGUSR2);
	by_timer();
	return victim_ok();
}
