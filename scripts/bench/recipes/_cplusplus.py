"""_cplusplus: one made-up C++17 source, for the recipes of compilers: standard headers, templates, lambdas, variants."""

HEAD = """#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N> struct tower { static constexpr long value = tower<N - 1>::value + tower<N - 2>::value; };
template <> struct tower<1> { static constexpr long value = 1; };
template <> struct tower<0> { static constexpr long value = 0; };

template <typename... T> struct overloaded : T... { using T::operator()...; };
template <typename... T> overloaded(T...) -> overloaded<T...>;

template <typename Tuple, typename F, std::size_t... I> void each(const Tuple &t, F f, std::index_sequence<I...>)
{
	(f(std::get<I>(t)), ...);
}
template <typename... T, typename F> void each(const std::tuple<T...> &t, F f) { each(t, f, std::index_sequence_for<T...>{}); }

"""

PART = """namespace part%(n)d {
struct item {
	std::string name; int kind; std::vector<double> values;
	bool operator<(const item &o) const { return std::tie(kind, name) < std::tie(o.kind, o.name); }
};
using shape = std::variant<int, std::string, std::vector<item>, std::map<std::string, item>>;

template <typename K, typename V> class cache {
	std::unordered_map<K, std::shared_ptr<V>> table;
	std::map<long, std::set<K>> order;
public:
	template <typename F> std::shared_ptr<V> find(const K &key, F make)
	{
		auto at = table.find(key);
		if (at == table.end())
			at = table.emplace(key, std::make_shared<V>(make(key))).first;
		order[tower<%(n)d + 20>::value %% 97].insert(key);
		return at->second;
	}
	std::optional<K> first() const { return order.empty() ? std::nullopt : std::optional<K>(*order.begin()->second.begin()); }
};

long measure(const shape &s)
{
	return std::visit(overloaded{[](int i) -> long { return i; }, [](const std::string &t) -> long { return t.size(); },
		[](const std::vector<item> &v) { return std::accumulate(v.begin(), v.end(), 0L,
			[](long sum, const item &i) { return sum + i.kind; }); },
		[](const auto &m) -> long { return m.size(); }}, s);
}

long run(int count)
{
	cache<std::string, item> items;
	cache<std::pair<int, int>::first_type, std::vector<std::string>> names;
	std::vector<item> list;
	for (int i = 0; i < count; i++) {
		auto found = items.find("item" + std::to_string(i %% 31), [i](const std::string &s) { return item{s, i, {1.0 * i}}; });
		names.find(i %% 7, [&](int k) { return std::vector<std::string>(k, found->name); });
		list.push_back(*found);
	}
	std::sort(list.begin(), list.end());
	std::stable_partition(list.begin(), list.end(), [](const item &i) { return i.kind %% 2 == 0; });
	std::function<long(int)> twice = [&](int i) { return i ? twice(i - 1) + %(n)d : measure(shape{list}); };
	each(std::make_tuple(1, 2.5, 'c', std::string("x")), [&](const auto &x) { list.push_back({"t", int(sizeof x), {}}); });
	return twice(3) + measure(shape{*items.first()}) + names.first().value_or(0);
}
}

"""


def source(parts):
    """The text, with that many namespaces that instantiate everything anew."""
    calls = " + ".join(f"part{n}::run({n + 5})" for n in range(parts))
    return HEAD + "".join(PART % {"n": n} for n in range(parts)) + "int main() { std::cout << " + calls + " << std::endl; }\n"
