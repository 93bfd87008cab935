// Prints, for every function of the allocator's interface, the module that serves it: "name module", one a line. The
// driver expects one module for all: a function that binds elsewhere would meet blocks it does not know.
#include "victim.h"

#include <link.h>

static const char *const names[] = {
	"malloc",
	"calloc",
	"realloc",
	"reallocarray",
	"free",
	"cfree",
	"memalign",
	"aligned_alloc",
	"posix_memalign",
	"valloc",
	"pvalloc",
	"malloc_usable_size",
	"free_sized",
	"free_aligned_sized",
	"malloc_trim",
	"mallinfo",
	"mallinfo2",
	"mallopt",
	"malloc_info",
	"malloc_stats",
	"__libc_malloc",
	"__libc_calloc",
	"__libc_realloc",
	"__libc_free",
	"__libc_memalign",
	"__libc_valloc",
	"__libc_pvalloc",
	"mallocx",
	"rallocx",
	"xallocx",
	"sallocx",
	"dallocx",
	"sdallocx",
	"nallocx",
	"mallctl",
	"mallctlnametomib",
	"mallctlbymib",
	"_Znwm",                              // new(size)
	"_Znam",                              // new[](size)
	"_ZnwmRKSt9nothrow_t",                // new(size, nothrow)
	"_ZnamRKSt9nothrow_t",                //
	"_ZnwmSt11align_val_t",               // new(size, alignment)
	"_ZnamSt11align_val_t",               //
	"_ZnwmSt11align_val_tRKSt9nothrow_t", //
	"_ZnamSt11align_val_tRKSt9nothrow_t", //
	"_ZdlPv",                             // delete(p)
	"_ZdaPv",                             //
	"_ZdlPvm",                            // delete(p, size)
	"_ZdaPvm",                            //
	"_ZdlPvRKSt9nothrow_t",               //
	"_ZdaPvRKSt9nothrow_t",               //
	"_ZdlPvSt11align_val_t",              //
	"_ZdaPvSt11align_val_t",              //
	"_ZdlPvmSt11align_val_t",             //
	"_ZdaPvmSt11align_val_t",             //
	"_ZdlPvSt11align_val_tRKSt9nothrow_t",
	"_ZdaPvSt11align_val_tRKSt9nothrow_t",
};

int main()
{
	for (const char *name : names) {
		void *p = victim_symbol(name);
		Dl_info info = {};
		const char *module = p && dladdr(p, &info) && info.dli_fname ? info.dli_fname : "-";
		const char *base = strrchr(module, '/');
		printf("%s %s\n", name, base ? base + 1 : module);
	}
	delete new int; // libstdc++ is linked for good
	return 0;
}
