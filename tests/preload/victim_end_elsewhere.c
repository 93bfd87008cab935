/* Changes its current folder after the start; a report with a relative name belongs to the folder of the start. */
#include "victim.h"

int main(void)
{
	free(kept(malloc(100)));
	CHECK(chdir("/") == 0, "chdir: %s", strerror(errno));
	return victim_ok();
}
