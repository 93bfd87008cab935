/* The standard descriptors are closed, as daemons do; argument "all": every descriptor is taken, so that none can be
 * opened at the end; "limit": RLIMIT_NOFILE is 0; "fsize": no byte may be written to a file, and the kernel would send
 * SIGXFSZ. The status is 21, whatever becomes of the report.
 */
#include "victim.h"

#include <fcntl.h>
#include <sys/resource.h>

static void work(void)
{
	for (size_t i = 0; i < 3000; i++) {
		void *p = malloc(i % 100 == 0 ? i * 200 : i);
		if (!p) {
			_exit(1);
		}
		kept(p);
		if (i % 2) {
			free(p);
		}
	}
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	struct rlimit limit = {0, 0};
	work();
	if (strcmp(how, "all") == 0) {
		struct rlimit now; /* nor may the limit be raised again */
		CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0, "getrlimit");
		now.rlim_max = now.rlim_cur;
		CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0, "setrlimit");
		while (open("/dev/null", O_RDONLY) >= 0) {
		}
	} else if (strcmp(how, "limit") == 0) {
		setrlimit(RLIMIT_NOFILE, &limit);
	} else if (strcmp(how, "fsize") == 0) {
		setrlimit(RLIMIT_FSIZE, &limit);
	} else {
		close(0);
		close(1);
		close(2);
	}
	work();
	return 21;
}
