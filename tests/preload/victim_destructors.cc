// Destructors of C++: thread_local objects of many threads and static objects of the program, which free and allocate.
#include "victim.h"

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

struct registry {
	std::map<std::string, std::unique_ptr<std::string>> names;

	void add(int i)
	{
		names["a name that is not short " + std::to_string(i)] = std::make_unique<std::string>(i % 300, 'y');
	}

	~registry()
	{
		std::vector<std::string> last;
		for (auto &entry : names) {
			last.push_back(entry.first + *entry.second);
		}
		CHECK(last.size() == names.size(), "names are gone");
	}
};

static registry global;
static thread_local registry local;

// Made before the others, so destroyed after them.
struct goodbye {
	std::string text = std::string(1000, 'g');

	~goodbye()
	{
		CHECK(text == std::string(1000, 'g'), "the text of the first object is damaged");
		text += text;
		victim_ok();
	}
};
static goodbye &first()
{
	static goodbye g;
	return g;
}
__attribute__((init_priority(200))) static struct starter {
	starter()
	{
		first();
	}
} starter;

int main()
{
	for (int wave = 0; wave < 30; wave++) {
		std::vector<std::thread> threads;
		for (int t = 0; t < 8; t++) {
			threads.emplace_back([=] {
				for (int i = 0; i < 200; i++) {
					local.add(i * t);
				}
			});
		}
		for (auto &t : threads) {
			t.join();
		}
		global.add(wave);
		local.add(wave);
	}
	return 0;
}
