/* request_view.c: see request_view.h.
 *
 * A histogram knows powers of two, so what is said of shares is a bound: "99 % under 64 KiB" has the upper end of the bucket
 * that the 99th of a hundred lies in.
 */
#include "analytics/request_view.h"

#include "analytics/human_units.h"
#include "analytics/memory.h"
#include "analytics/table.h"

#include <stdlib.h>
#include <string.h>

enum { BAR_MAX = 40 };

typedef struct human human_unit(uint64_t value);

static void line_begin(const struct terminal *t, const char *name)
{
	fprintf(t->stream, "%s%-12s%s", terminal_dim(t), name, terminal_plain(t));
}

static uint64_t sum_of(const uint64_t *histogram)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < LEDGER_REQUEST_BUCKETS; i++)
		sum += histogram[i];
	return sum;
}

/* So many of a hundred are below; the lowest power of two for which it is so. */
static uint64_t below(const uint64_t *histogram, unsigned percent)
{
	uint64_t all = sum_of(histogram), seen = 0;
	for (unsigned i = 0; i < LEDGER_REQUEST_BUCKETS; i++) {
		seen += histogram[i];
		if (seen && seen * 100 >= all * percent)
			return UINT64_C(1) << i;
	}
	return 0;
}

/* "1 block", "2 blocks" */
static struct counted {
	char text[sizeof(struct human) + 16];
} number_of(uint64_t count, const char *one)
{
	struct counted counted;
	snprintf(counted.text, sizeof(counted.text), "%s %.12s%s", human_count(count).text, one, count == 1 ? "" : "s");
	return counted;
}

static void show_origin(const struct ledger_requests *q, const struct terminal *t)
{
	line_begin(t, "requests");
	fprintf(t->stream, "%s on %s, %s accepted; a request is a turn: what is read between two answers\n",
	        human_count(q->count).text, number_of(q->connections, "connection").text, human_count(q->accepted).text);
	line_begin(t, "seen by");
	fprintf(t->stream, "%s, %s", number_of(q->reads, "read").text, number_of(q->writes, "write").text);
	if (q->silent)
		fprintf(t->stream, "; nothing on %s, which another process has, or calls that are not seen",
		        number_of(q->silent, "connection").text);
	if (q->beyond)
		fprintf(t->stream, "; %s descriptors too high to watch", human_count(q->beyond).text);
	if (q->io_uring)
		fputs("; a ring of io_uring, whose calls are not seen", t->stream);
	fputc('\n', t->stream);
	line_begin(t, "not told");
	fputs("clients that send several requests at once make one turn of them\n", t->stream);
}

static uint64_t escaping_sites(const struct report *r)
{
	uint64_t sites = 0;
	for (size_t i = 0; i < r->request_sites.count; i++)
		sites += r->request_sites.sites[i].of.escaped != 0;
	return sites;
}

static void show_sentence(const struct report *r, const struct terminal *t)
{
	const struct ledger_requests *q = r->requests;
	line_begin(t, "a request");
	if (!q->weight) {
		fputs("was not accounted\n", t->stream);
		return;
	}
	fprintf(t->stream, "%sallocates %s times, %s%s; 99 %% under %s times, under %s", terminal_bold(t),
	        human_count(q->objects / q->weight + (q->objects % q->weight > q->weight / 2)).text,
	        human_bytes(q->space / q->weight).text, terminal_plain(t), human_count(below(q->objects_hist, 99)).text,
	        human_bytes(below(q->space_hist, 99)).text);
	if (sum_of(q->ns_hist))
		fprintf(t->stream, "; half take under %s, 99 %% under %s", human_duration(below(q->ns_hist, 50)).text,
		        human_duration(below(q->ns_hist, 99)).text);
	fputc('\n', t->stream);
	line_begin(t, "left behind");
	fprintf(t->stream, "%s by %s, %s; freed of what earlier ones had left: %s, %s\n",
	        number_of(q->escaped_objects, "block").text, number_of(escaping_sites(r), "site").text,
	        human_bytes(q->escaped_space).text, number_of(q->freed_objects, "block").text,
	        human_bytes(q->freed_space).text);
	line_begin(t, "accounted");
	fprintf(t->stream, "%s, %s of the requests", human_count(q->accounted).text,
	        human_share(q->accounted, q->count).text);
	if (q->weight != q->accounted)
		fprintf(t->stream, "; they stand for %s", human_count(q->weight).text);
	if (q->untimed)
		fprintf(t->stream, "; of %s the time is not known", human_count(q->untimed).text);
	if (q->lost)
		fprintf(t->stream, "; %s more went on in other threads and were given up", human_count(q->lost).text);
	fputc('\n', t->stream);
}

static void cell(struct table *table, char *text)
{
	table_cell(table, text);
	free(text);
}

static char *bucket_name(unsigned bucket, human_unit *unit)
{
	if (bucket == 0)
		return memory_text("none");
	return memory_format("%s..", unit(UINT64_C(1) << (bucket - 1)).text);
}

static void show_histogram(const uint64_t *histogram, const char *what, const char *counted, human_unit *unit,
                           const struct terminal *t)
{
	const struct table_column columns[] = {{what, true}, {counted, true}, {"", false}};
	uint64_t most = 0;
	struct table table;
	unsigned first = LEDGER_REQUEST_BUCKETS, last = 0;
	for (unsigned i = 0; i < LEDGER_REQUEST_BUCKETS; i++) {
		if (!histogram[i])
			continue;
		first = i < first ? i : first;
		last = i;
		most = histogram[i] > most ? histogram[i] : most;
	}
	if (!most)
		return;
	table_open(&table, columns, 3);
	for (unsigned i = first; i <= last; i++) {
		if (!histogram[i])
			continue;
		char bar[BAR_MAX + 1] = "";
		memset(bar, '#', (size_t)(histogram[i] * BAR_MAX / most));
		cell(&table, bucket_name(i, unit));
		table_cell(&table, human_count(histogram[i]).text);
		table_cell(&table, histogram[i] && !bar[0] ? "." : bar);
	}
	fputc('\n', t->stream);
	table_print(&table, t, 0);
	table_close(&table);
}

static const struct report_site *site_of(const struct report *r, uint64_t id)
{
	for (size_t i = 0; i < r->sites_count; i++)
		if (r->sites[i].id == id)
			return &r->sites[i];
	return NULL;
}

static char *site_name(const struct report *r, struct names *s, uint64_t id)
{
	const struct report_site *site = site_of(r, id);
	return site ? names_site(s, site) : memory_format("site %llu", (unsigned long long)id);
}

/* Do they look alike in the table, but for the time? */
static bool are_alike(const struct ledger_request_top *a, const struct ledger_request_top *b)
{
	return a->space == b->space && a->objects == b->objects && a->parts_count && b->parts_count &&
	       a->parts[0].site == b->parts[0].site;
}

/* Each with the site that took most of it. */
static void show_top(const struct report *r, struct names *s, const struct terminal *t)
{
	static const struct table_column columns[] = {{"largest", true}, {"of them", true},  {"blocks", true},
	                                              {"time", true},    {"its part", true}, {"most of it by", false}};
	struct table table;
	if (!r->requests->top_count)
		return;
	table_open(&table, columns, 6);
	for (uint64_t i = 0, alike; i < r->requests->top_count; i += alike) {
		for (alike = 1; i + alike < r->requests->top_count; alike++)
			if (!are_alike(&r->requests->top[i], &r->requests->top[i + alike]))
				break;
		const struct ledger_request_top *top = &r->requests->top[i];
		table_cell(&table, human_bytes(top->space).text);
		table_cell(&table, human_count(alike).text);
		table_cell(&table, human_count(top->objects).text);
		table_cell(&table, top->duration_ns ? human_duration(top->duration_ns).text : "-");
		table_cell(&table, top->parts_count ? human_share(top->parts[0].space, top->space).text : "-");
		cell(&table, top->parts_count ? site_name(r, s, top->parts[0].site) : memory_text("-"));
	}
	fputc('\n', t->stream);
	table_print(&table, t, 0);
	table_close(&table);
}

static int by_space(const void *a, const void *b)
{
	const struct report_request_site *x = a, *y = b;
	if (x->of.space != y->of.space)
		return x->of.space < y->of.space ? 1 : -1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static void show_sites(const struct report *r, struct names *s, size_t top, const struct terminal *t)
{
	static const struct table_column columns[] = {{"bytes", true}, {"share", true},       {"blocks", true},
	                                              {"left", true},  {"freed later", true}, {"site", false}};
	size_t count = r->request_sites.count;
	struct report_request_site *order = memory_room(count, sizeof(*order));
	struct table table;
	for (size_t i = 0; i < count; i++)
		order[i] = r->request_sites.sites[i];
	if (count)
		qsort(order, count, sizeof(*order), by_space);
	table_open(&table, columns, 6);
	for (size_t i = 0; i < count && (!top || i < top); i++) {
		const struct ledger_request_site *of = &order[i].of;
		table_cell(&table, human_bytes(of->space).text);
		table_cell(&table, human_share(of->space, r->requests->space).text);
		table_cell(&table, human_count(of->objects).text);
		table_cell(&table, human_count(of->escaped).text);
		table_cell(&table, human_count(of->freed).text);
		cell(&table, site_name(r, s, order[i].id));
	}
	free(order);
	if (count) {
		fputc('\n', t->stream);
		table_print(&table, t, 0);
	}
	table_close(&table);
}

void view_requests(const struct report *r, struct names *s, size_t top, const struct terminal *t)
{
	if (!r->requests || r->requests->boundary == BOUNDARY_NONE) {
		line_begin(t, "requests");
		fprintf(t->stream, "none: %s%s\n",
		        r->requests ? "no connection was accepted, or none was looked for (option request)"
		                    : "the report does not know of them",
		        r->requests && r->requests->io_uring ? "; there is a ring of io_uring, whose calls are not seen" : "");
		return;
	}
	show_origin(r->requests, t);
	show_sentence(r, t);
	show_histogram(r->requests->objects_hist, "blocks", "requests", human_count, t);
	show_histogram(r->requests->space_hist, "bytes", "requests", human_bytes, t);
	show_histogram(r->requests->ns_hist, "time", "requests", human_duration, t);
	show_histogram(r->requests->connection_requests_hist, "requests", "connections", human_count, t);
	show_top(r, s, t);
	show_sites(r, s, top, t);
}
