"""PostgreSQL under pgbench -S: two connections with 10,000 look-ups each by primary key, parsed and planned anew every time. A
backend takes memory contexts of 1 KiB and more from malloc, for the parser, the planner, each plan; small objects inside
come from these."""

from ._postgres import NEEDS, TO, Cluster, server, tool  # noqa: F401  (NEEDS is the recipe's)

SERVER = server()
READY = [tool("pg_isready"), "-q", *TO, "-d", "postgres"]
LOAD = [tool("pgbench"), *TO, "-n", "-S", "-c", "2", "-t", "10000", "--random-seed=7", "postgres"]
METRICS = [("throughput", r"^tps = ([\d.]+)", "/s", True)]
CHECK = r"actually processed: 20000/20000\n"
STOP = "INT"

TABLES = (
    "CREATE TABLE pgbench_branches(bid int PRIMARY KEY, bbalance int, filler char(88));",
    "CREATE TABLE pgbench_accounts(aid int, bid int, abalance int, filler char(84)) WITH (fillfactor=100);",
    "INSERT INTO pgbench_branches VALUES (1, 0, NULL);",
    "INSERT INTO pgbench_accounts SELECT i, 1, i % 1000, '' FROM generate_series(1, 100000) i;",
    "ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid);",
    "VACUUM (FREEZE, ANALYZE);")
CLUSTER = Cluster(TABLES)
inputs = CLUSTER.make
prepare = CLUSTER.prepare
