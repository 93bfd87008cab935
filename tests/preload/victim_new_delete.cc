// build: -fsized-deallocation
// All 20 forms of operator new and delete: size, alignment, contents; each delete with blocks of each new it may meet.
#include "victim.h"

#include <initializer_list>
#include <malloc.h>
#include <new>

using std::align_val_t;
using std::nothrow;

static void whole(void *p, size_t n, size_t alignment, const char *form)
{
	CHECK(p, "%s of %zu gives NULL", form, n);
	CHECK((uintptr_t)p % alignment == 0, "%s of %zu, aligned to %zu, gives %p", form, n, alignment, p);
	CHECK(malloc_usable_size(p) >= n, "%s of %zu is usable to %zu", form, n, malloc_usable_size(p));
	memset(p, 0x5a, malloc_usable_size(p));
}

static void plain(size_t n)
{
	void *p[12];
	for (int i = 0; i < 12; i += 4) {
		p[i] = ::operator new(n);
		p[i + 1] = ::operator new[](n);
		p[i + 2] = ::operator new(n, nothrow);
		p[i + 3] = ::operator new[](n, nothrow);
	}
	for (void *one : p) {
		whole(one, n, 16, "operator new");
	}
	::operator delete(p[0]);
	::operator delete[](p[1]);
	::operator delete(p[2], nothrow);
	::operator delete[](p[3], nothrow);
	::operator delete(p[4], n);
	::operator delete[](p[5], n);
	::operator delete(p[6]);
	::operator delete[](p[7]);
	free(p[8]); // undefined by the standard, done by programs, and served by every allocator
	free(p[9]);
	::operator delete(p[10], n);
	::operator delete[](p[11], n);
}

static void aligned(size_t n, size_t alignment)
{
	align_val_t a = (align_val_t)alignment;
	void *p[8];
	for (int i = 0; i < 8; i += 4) {
		p[i] = ::operator new(n, a);
		p[i + 1] = ::operator new[](n, a);
		p[i + 2] = ::operator new(n, a, nothrow);
		p[i + 3] = ::operator new[](n, a, nothrow);
	}
	for (void *one : p) {
		whole(one, n, alignment, "aligned operator new");
	}
	::operator delete(p[0], a);
	::operator delete[](p[1], a);
	::operator delete(p[2], a, nothrow);
	::operator delete[](p[3], a, nothrow);
	::operator delete(p[4], n, a);
	::operator delete[](p[5], n, a);
	::operator delete(p[6], a);
	::operator delete[](p[7], a);
}

int main()
{
	FOR_SIZES(n, 300 * KIB)
	{
		plain(n);
	}
	for (size_t alignment = 1; alignment <= 64 * KIB; alignment *= 2) {
		for (size_t n : {0, 1, 24, 64, 100, 500, 1024, 3000, 10000, 70000}) {
			aligned(n, alignment);
		}
	}
	::operator delete(nullptr);
	::operator delete[](nullptr, (size_t)8);
	::operator delete(nullptr, (align_val_t)64);
	return victim_ok();
}
