"""PostgreSQL with queries that work: hash joins, sorts, string and json aggregates over 20,000 rows, regular
expressions, XPath, in two connections. Sorts and hash tables take blocks of 8 KiB to 8 MiB from malloc; libxml2 and the
compiler of regular expressions call it for each small object."""

from ._data import write
from ._postgres import NEEDS, TO, Cluster, server, tool  # noqa: F401  (NEEDS is the recipe's)

SERVER = server()
READY = [tool("pg_isready"), "-q", *TO, "-d", "postgres"]
LOAD = [tool("pgbench"), *TO, "-n", "-f", "{inputs}/select.sql", "-c", "2", "-t", "8", "--random-seed=7", "postgres"]
METRICS = [("throughput", r"^tps = ([\d.]+)", "/s", True)]
CHECK = r"actually processed: 16/16\n"
STOP = "INT"

TABLES = (
    "CREATE TABLE customer AS SELECT i AS id, 'customer ' || md5(i::text) AS name, i % 61 AS town"
    " FROM generate_series(1, 2000) i;",
    "CREATE TABLE purchase AS SELECT i AS id, i * 31 % 2000 + 1 AS customer, left(md5((i % 997)::text), 9) AS item,"
    " (i * 37 % 5000) / 100.0 AS price, md5(i::text) || ' ' || i AS note FROM generate_series(1, 20000) i;",
    "CREATE TABLE document AS SELECT customer AS id, xmlelement(name \"order\", xmlagg(xmlelement(name line,"
    " xmlattributes(id % 997 AS item), xmlelement(name note, note)))) AS doc FROM purchase GROUP BY customer;",
    "ALTER TABLE customer ADD PRIMARY KEY (id);",
    "ALTER TABLE purchase ADD PRIMARY KEY (id);",
    "VACUUM (FREEZE, ANALYZE);")
CLUSTER = Cluster(TABLES)

QUERIES = r"""\set some random(0, 60)
SELECT c.name, count(*), sum(p.price), max(p.note) FROM purchase p JOIN customer c ON c.id = p.customer
  WHERE c.town <> :some GROUP BY c.name ORDER BY 3 DESC, 1 LIMIT 9;
SELECT item, string_agg(note, ',' ORDER BY note) FROM purchase WHERE customer % 61 <> :some GROUP BY item ORDER BY 2 LIMIT 3;
SELECT length(json_agg(json_build_object('id', id, 'item', item, 'note', note))::text) FROM purchase WHERE id % 61 <> :some;
SELECT count(*) FROM purchase WHERE id % 61 <> :some AND id <= 2000
  AND note ~ (left(item, 2) || '+[0-9]?(' || left(note, 2) || ')?');
SELECT count(*), max(x[1]::text) FROM (SELECT xpath('/order/line[@item > 500]/note/text()', doc) AS x FROM document
  WHERE id % 61 <> :some) q;
"""


def inputs(folder):
    write(folder, "select.sql", QUERIES)
    CLUSTER.make(folder)


prepare = CLUSTER.prepare
