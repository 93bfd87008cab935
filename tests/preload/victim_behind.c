/* Runs a program behind a filter that ends it for calls which an allocator might make and which services are forbidden, by
 * systemd's SystemCallFilter=@system-service or by what it is used with (~@resources, ~@debug, ~@ipc). The filter is there before
 * the program is loaded, so nobody sees it being set. Arguments: what to preload, or "", the program's path, its arguments.
 */
#include "victim.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void filter(void)
{
#define END(name)                                                                                                      \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		END(mincore),
		END(process_vm_readv),
		END(process_vm_writev),
		END(ptrace),
		END(userfaultfd),
		END(mbind),
		END(set_mempolicy),
		END(get_mempolicy),
		END(migrate_pages),
		END(move_pages),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs: %s", strerror(errno));
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	CHECK(argc > 2, "usage: behind PRELOAD PROGRAM ARGS");
	filter();
	if (argv[1][0])
		CHECK(setenv("LD_PRELOAD", argv[1], 1) == 0, "setenv");
	execv(argv[2], argv + 2);
	CHECK(0, "%s: %s", argv[2], strerror(errno));
}
