// build: -fsized-deallocation -std=c++17
// The forms of operator new as sites: the site is the caller of operator new, not operator new. Each function makes COUNT
// objects and deletes all but ALIVE; prints "SYMBOL alloc_objects alloc_space free_objects inuse_objects" for each.
#include "victim.h"

#include <new>

enum { COUNT = 3000, ALIVE = 17 };

struct small {
	char text[24];
};

struct alignas(64) line {
	char text[64];
};

template <typename Make, typename Drop> static inline __attribute__((always_inline)) void many(Make make, Drop drop)
{
	for (int i = 0; i < COUNT; i++) {
		auto *p = make();
		CHECK(kept(p), "no object");
		if (i >= ALIVE) {
			drop(p);
		}
	}
}

#define SITE(name, make, drop)                                                                                         \
	extern "C" __attribute__((noinline)) void name()                                                                   \
	{                                                                                                                  \
		many(                                                                                                          \
			[]() __attribute__((always_inline)) { return make; },                                                      \
			[](auto *p) __attribute__((always_inline)) { drop; });                                                     \
	}

SITE(new_one, new small, delete p)
SITE(new_array, new small[10], delete[] p)
SITE(new_quiet, new (std::nothrow) small, delete p)
SITE(new_array_quiet, new (std::nothrow) small[10], delete[] p)
SITE(new_aligned, new line, delete p)
SITE(new_array_aligned, new line[3], delete[] p)
SITE(new_aligned_quiet, new (std::nothrow) line, delete p)
SITE(new_array_aligned_quiet, new (std::nothrow) line[3], delete[] p)
SITE(new_raw_sized, (char *)::operator new(100), ::operator delete(p, (size_t)100))
SITE(new_raw_aligned_sized, (char *)::operator new(200, (std::align_val_t)128),
     ::operator delete(p, (size_t)200, (std::align_val_t)128))

int main()
{
	const struct {
		const char *name;
		void (*go)();
		int bytes;
	} sites[] = {
		{"new_one", new_one, 24},
		{"new_array", new_array, 240},
		{"new_quiet", new_quiet, 24},
		{"new_array_quiet", new_array_quiet, 240},
		{"new_aligned", new_aligned, 64},
		{"new_array_aligned", new_array_aligned, 192},
		{"new_aligned_quiet", new_aligned_quiet, 64},
		{"new_array_aligned_quiet", new_array_aligned_quiet, 192},
		{"new_raw_sized", new_raw_sized, 100},
		{"new_raw_aligned_sized", new_raw_aligned_sized, 200},
	};
	for (auto &s : sites) {
		s.go();
		printf("%s %d %d %d %d\n", s.name, COUNT, COUNT * s.bytes, COUNT - ALIVE, ALIVE);
	}
	return 0;
}
