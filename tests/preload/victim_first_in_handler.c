/* The very first allocation of a thread happens in a signal handler, on a small alternate stack; and in the last moments
 * of a thread a handler allocates once more.
 */
#include "victim.h"

#include <pthread.h>
#include <signal.h>

static void handler(int signal_number)
{
	(void)signal_number;
	for (size_t n = 1; n < 40000; n = n * 3 + 1) {
		void *p = malloc(n);
		if (!p) {
			_exit(43);
		}
		memset(p, 1, n);
		free(p);
	}
}

static void destroyed(void *p)
{
	(void)p;
	raise(SIGUSR1);
}

static pthread_key_t key;

static void *body(void *unused)
{
	char stack[SIGSTKSZ < 16384 ? 16384 : SIGSTKSZ];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)}, none = {.ss_flags = SS_DISABLE};
	sigaltstack(&alternate, NULL);
	raise(SIGUSR1);
	sigaltstack(&none, NULL);
	pthread_setspecific(key, &key);
	return unused;
}

int main(void)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
	sigaction(SIGUSR1, &act, NULL);
	pthread_key_create(&key, destroyed);
	for (int i = 0; i < 300; i++) {
		pthread_t t;
		CHECK(pthread_create(&t, NULL, body, NULL) == 0, "pthread_create");
		pthread_join(t, NULL);
	}
	return victim_ok();
}
