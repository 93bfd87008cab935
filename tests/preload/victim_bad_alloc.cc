// Impossible sizes: operator new throws std::bad_alloc, the nothrow forms give nullptr; the new_handler is called first,
// again and again until it gives up, and may throw something of its own. Any argument adds what libstdc++ 12 gets wrong.
#include "victim.h"

#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

using std::align_val_t;
using std::nothrow;

static int handled;

static void give_up_after_three()
{
	if (++handled == 3) {
		std::set_new_handler(nullptr);
	}
}

struct own_error {
};

static void throw_own()
{
	handled++;
	throw own_error();
}

template <typename F> static bool throws_bad_alloc(F f)
{
	try {
		void *p = kept(f());
		CHECK(!p, "a block of an impossible size: %p", p);
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

static void sizes(bool all)
{
	for (size_t size : {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX - 65536}) {
		size_t n = opaque(size);
		align_val_t a = (align_val_t)128;
		CHECK(throws_bad_alloc([=] { return ::operator new(n); }), "operator new(%zu) throws nothing", n);
		CHECK(throws_bad_alloc([=] { return ::operator new[](n); }), "operator new[](%zu) throws nothing", n);
		CHECK(!::operator new(n, nothrow), "operator new(%zu, nothrow) gives a block", n);
		CHECK(!::operator new[](n, nothrow), "operator new[](%zu, nothrow) gives a block", n);
		if (!all && n == SIZE_MAX) {
			continue; // libstdc++ 12 rounds this up to the alignment, to 0
		}
		CHECK(throws_bad_alloc([=] { return ::operator new(n, a); }), "aligned operator new(%zu) throws nothing", n);
		CHECK(throws_bad_alloc([=] { return ::operator new[](n, a); }), "aligned operator new[](%zu) throws nothing",
		      n);
		CHECK(!::operator new(n, a, nothrow), "aligned operator new(%zu, nothrow) gives a block", n);
		CHECK(!::operator new[](n, a, nothrow), "aligned operator new[](%zu, nothrow) gives a block", n);
	}
}

static void handlers()
{
	size_t n = opaque(SIZE_MAX - 4096);
	align_val_t a = (align_val_t)64;
	auto counted = [&](const char *form, auto f) {
		handled = 0;
		std::set_new_handler(give_up_after_three);
		bool thrown = throws_bad_alloc(f);
		CHECK(handled == 3, "%s called the new_handler %d times, not 3", form, handled);
		return thrown;
	};
	CHECK(counted("new", [=] { return ::operator new(n); }), "nothing thrown after the handler gave up");
	CHECK(counted("new[]", [=] { return ::operator new[](n); }), "nothing thrown after the handler gave up");
	CHECK(counted("new aligned", [=] { return ::operator new(n, a); }), "nothing thrown after the handler gave up");
	CHECK(!counted("new nothrow", [=] { return ::operator new(n, nothrow); }), "nothrow threw");
	CHECK(!counted("new[] nothrow", [=] { return ::operator new[](n, nothrow); }), "nothrow threw");
	CHECK(!counted("new aligned nothrow", [=] { return ::operator new(n, a, nothrow); }), "nothrow threw");
	handled = 0;
	std::set_new_handler(throw_own);
	try {
		kept(::operator new(n));
		CHECK(false, "operator new came back");
	} catch (const own_error &) {
	}
	CHECK(handled == 1, "the throwing handler ran %d times", handled);
	std::set_new_handler(nullptr);
}

// What a handler is for: it gives memory back, and the allocation succeeds. Here by lifting nothing at all: the
// size is possible, so no handler may be called.
static void never_called_on_success()
{
	handled = 0;
	std::set_new_handler(throw_own);
	for (size_t n = 0; n < 100000; n += 97) {
		::operator delete(kept(::operator new(n)));
	}
	std::set_new_handler(nullptr);
	CHECK(handled == 0, "the new_handler was called %d times without need", handled);
}

static void library()
{
	bool thrown = false;
	try {
		std::vector<char> v(opaque(PTRDIFF_MAX));
	} catch (const std::bad_alloc &) {
		thrown = true;
	} catch (const std::length_error &) {
		thrown = true;
	}
	CHECK(thrown, "a vector of PTRDIFF_MAX bytes was made");
	std::string s;
	for (int i = 0; i < 10000; i++) {
		s += std::to_string(i);
	}
	CHECK(s.size() == 38890, "a string of %zu characters", s.size());
}

int main(int argc, char **)
{
	sizes(argc > 1);
	handlers();
	never_called_on_success();
	library();
	return victim_ok();
}
