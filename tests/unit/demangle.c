/* Names of C++ and Rust as their users write them. */
#include "analytics/demangle.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void expect(const char *symbol, const char *name)
{
	char *found = demangle(symbol);
	if (name)
		cr_expect(found && strcmp(found, name) == 0, "%s: %s, not %s", symbol, found ? found : "nothing", name);
	else
		cr_expect_null(found, "%s: %s", symbol, found);
	free(found);
}

Test(demangle, cxx)
{
	expect("_ZN4shop6basketINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEE3addERKS6_",
	       "shop::basket<std::string>::add");
	expect("_ZNSt6vectorIiSaIiEE17_M_realloc_insertIJRKiEEEvN9__gnu_cxx17__normal_iteratorIPiS1_EEDpOT_",
	       "std::vector<int>::_M_realloc_insert<int const&>");
	expect("_ZNSt3mapISsSt6vectorIdSaIdEESt4lessISsESaISt4pairIKSsS2_EEEixERS6_",
	       "std::map<std::string, std::vector<double>, std::less<std::string>>::operator[]");
	expect("_ZN12_GLOBAL__N_14makeEv", "(anonymous namespace)::make");
	expect("_Z4swapIiEvRT_S1_", "swap<int>");
	expect("_Znwm", "operator new");
	expect("_ZN2ns1fEv.part.0", "ns::f");
}

Test(demangle, rust)
{
	expect("_ZN7mycrate5shelf3add17h0123456789abcdefE", "mycrate::shelf::add"); /* the hash is not of the name */
	expect("_RNvCs1234_7mycrate3foo", "mycrate::foo");
	expect("_RNvMs_Cs4Cv8Wi1oAIB_7mycrateNtB4_7Example3new", "<mycrate::Example>::new");
}

Test(demangle, what_is_no_mangled_name)
{
	expect("main", NULL);
	expect("i", NULL); /* a type to a demangler */
	expect("", NULL);
	expect("_Z", NULL);
	expect("_R", NULL);
	expect("_Zwhatever", NULL);
	expect("_ZN4shop6bask", NULL);
}

Test(demangle, a_name_that_doubles_and_doubles_is_left, .timeout = 60)
{
	char symbol[1024] = "_Z1fI1aSt4pairIS0_S0_E";
	for (int i = 2; i < 2 + 30; i++) { /* each is the pair of two of the one before: S2_, S3_, ..., SV_ */
		char digit = (char)(i < 10 ? '0' + i : 'A' + i - 10),
			 pair[] = {'S', '1', '_', 'I', 'S', digit, '_', 'S', digit, '_', 'E', 0};
		strcat(symbol, pair);
	}
	strcat(symbol, "Evv");
	expect(symbol, NULL); /* whole, it would have 20 GiB */
	expect("_Z1fI1aSt4pairIS0_S0_ES1_IS2_S2_EEvv",
	       "f<a, std::pair<a, a>, std::pair<std::pair<a, a>, std::pair<a, a>>>");
	char deep[3000] = "_Z";
	memset(deep + 2, 'P', sizeof(deep) - 3);
	expect(deep, NULL);
}

Test(demangle, arguments_are_cut)
{
	static const char *const cases[][2] = {
		{"shop::basket<std::string>::add", "shop::basket::add"},
		{"a<b<c>, d>::e<f>", "a::e"},
		{"ns::operator<", "ns::operator<"},
		{"ns::operator<< <int>", "ns::operator<< "},
		{"std::unique_ptr<int>::operator->", "std::unique_ptr::operator->"},
		{"f", "f"},
		{"", ""},
		{"<alloc::vec::Vec<T>>::push", "alloc::vec::Vec::push"},
		{"<a::B<u8> as c::D<a::E>>::f::<G<H>>", "a::B::f"},
		{"<a", ""},
		{"a<b", "a"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[64];
		strcpy(text, cases[i][0]);
		cr_expect_str_eq(demangle_cut_arguments(text), cases[i][1], "%s: %s", cases[i][0], text);
	}
}
