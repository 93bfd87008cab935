/* build: -O2 */
/* Call paths to hold an oracle against: wrappers within wrappers with several callers each, buffers that grow, recursion,
 * calls through pointers, strings. No block of no bytes: DHAT makes 1 of it. One thread, and no addresses or times in any
 * decision: every run allocates the same.
 */
#include "victim.h"

static void *volatile held;

#define LAYER __attribute__((noinline))

LAYER static void *xmalloc(size_t n)
{
	void *p = malloc(n);
	CHECK(p, "no %zu bytes", n);
	return p;
}

LAYER static char *xstrdup(const char *s)
{
	char *copy = xmalloc(strlen(s) + 1);
	return strcpy(copy, s);
}

LAYER static void *xrealloc(void *old, size_t n)
{
	void *p = realloc(old, n);
	CHECK(p, "no %zu bytes", n);
	return p;
}

struct list {
	char **words;
	size_t count, room;
};

LAYER static void list_add(struct list *l, const char *word)
{
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 4;
		l->words = xrealloc(l->words, l->room * sizeof(l->words[0]));
	}
	l->words[l->count++] = xstrdup(word);
}

LAYER static void list_clear(struct list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->words[i]);
	free(l->words);
	*l = (struct list){0};
}

struct tree {
	struct tree *left, *right;
	char *name;
};

LAYER static struct tree *tree_make(int depth, int number)
{
	struct tree *t = xmalloc(sizeof(*t));
	char name[32];
	snprintf(name, sizeof(name), "node %d", number);
	t->name = xstrdup(name);
	t->left = depth ? tree_make(depth - 1, 2 * number) : NULL;
	t->right = depth ? tree_make(depth - 1, 2 * number + 1) : NULL;
	return t;
}

LAYER static void tree_free(struct tree *t)
{
	if (!t)
		return;
	tree_free(t->left);
	tree_free(t->right);
	free(t->name);
	free(t);
}

LAYER static void phone_book(int entries)
{
	struct list l = {0};
	for (int i = 0; i < entries; i++)
		list_add(&l, i % 3 ? "Ada" : "Grace Hopper of the Navy");
	list_clear(&l);
}

LAYER static void inventory(int entries)
{
	struct list l = {0};
	for (int i = 0; i < entries; i++) {
		list_add(&l, "a thing on a shelf");
		held = xmalloc((size_t)(i % 90) + 1);
		free(held);
	}
	list_clear(&l);
}

LAYER static void *cleared(size_t n)
{
	void *p = calloc(n, 3);
	CHECK(p, "no memory");
	return p;
}

LAYER static void *copied(size_t n)
{
	char text[128] = "";
	memset(text, 'c', n % 100);
	char *p = strdup(text);
	CHECK(p, "no memory");
	return p;
}

int main(void)
{
	void *(*const makers[])(size_t) = {xmalloc, cleared, copied};
	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = 0; i < 3000; i++) {
		held = makers[i % 3]((size_t)(i % 200) + 1);
		free(held);
	}
	for (int i = 0; i < 20; i++) {
		phone_book(100 + i);
		inventory(50 + i);
	}
	struct tree *t = tree_make(9, 1);
	tree_free(t);
	return victim_ok();
}
