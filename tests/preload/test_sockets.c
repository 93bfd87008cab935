/* test_sockets.c: the calls that tell requests are still themselves. What is told of them: test_requests.py.
 */
#include "tests/run_victim.h"

#include <criterion/criterion.h>

static const char *const doors[] = {"", "request:turn", "request_every:1", "request:off", "range:0", NULL};

Test(sockets, socket_calls)
{
	cr_assert(victim_passes_both("socket_calls", doors));
}
