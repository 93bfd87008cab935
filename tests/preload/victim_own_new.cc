// A program that replaces operator new and delete keeps its own, also for what libstdc++ allocates on its behalf; malloc
// below them is still the preload's.
#include "victim.h"

#include <atomic>
#include <map>
#include <new>
#include <string>

static std::atomic<long> news, deletes;

void *operator new(size_t n)
{
	news++;
	void *p = malloc(n + 16);
	if (!p) {
		throw std::bad_alloc();
	}
	*(size_t *)p = 0x51ece;
	return (char *)p + 16;
}

void operator delete(void *p) noexcept
{
	if (!p) {
		return;
	}
	deletes++;
	size_t *head = (size_t *)((char *)p - 16);
	CHECK(*head == 0x51ece, "operator delete met a block of another operator new");
	free(head);
}

void operator delete(void *p, size_t) noexcept
{
	operator delete(p);
}

int main()
{
	{
		std::map<std::string, std::string> m;
		for (int i = 0; i < 1000; i++) {
			m["a key that is too long for the small string " + std::to_string(i)] = std::string(100, 'x');
		}
		int *array = new int[100];
		kept(array);
		delete[] array;
		int *quiet = new (std::nothrow) int;
		kept(quiet);
		delete quiet;
	}
	CHECK(news == deletes && news > 3000, "%ld news, %ld deletes", news.load(), deletes.load());
	return victim_ok();
}
