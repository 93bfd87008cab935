#!/usr/bin/python3
"""PostgreSQL under the shim: initdb, a server with forked backends, psql, pgbench. As root the whole of it runs as the
user postgres (the server refuses root). initdb's output and psql's answers must be the same bytes with and without the
shim, and pgbench, whose clients are seeded, must leave the same balances."""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from shimmed import STANDS_IN, Case

USER = "postgres"
CLIENTS, TRANSACTIONS = 4, 150

SQL = r"""
\set ON_ERROR_STOP off
CREATE TABLE item AS SELECT i AS id, md5(i::text) AS name, i % 89 AS kind, (i * 37 % 1000) / 10.0 AS price,
  jsonb_build_object('i', i, 'tags', array[i % 3, i % 5]) AS doc FROM generate_series(1, 40000) i;
CREATE INDEX ON item(name); CREATE INDEX ON item USING gin (doc); ANALYZE item;
SELECT count(*), sum(price), min(name), max(name) FROM item;
SELECT kind, count(*), string_agg(left(name, 2), '' ORDER BY id) FROM item WHERE id % 50 = 0 GROUP BY kind ORDER BY kind LIMIT 20;
SELECT count(*) FROM item WHERE doc @> '{"tags": [2]}';
SELECT a.kind, count(*) FROM item a JOIN item b ON b.name = md5((a.id + 1)::text) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5;
DO $$ DECLARE t text := ''; BEGIN FOR i IN 1 .. 2000 LOOP t := md5(t || i); END LOOP; RAISE NOTICE '%', t; END $$;
DO $$ BEGIN FOR i IN 1 .. 300 LOOP BEGIN PERFORM 1 / (i % 3); EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$;
SELECT regexp_replace(name, '[a-f]+', '-', 'g') FROM item ORDER BY id LIMIT 10;
SELECT length(xmlagg(xmlelement(name r, name))::text) FROM item WHERE id <= 2000;
SELECT * FROM missing;
UPDATE item SET name = upper(name) WHERE kind < 20; DELETE FROM item WHERE kind = 33;
SELECT md5(string_agg(name || price, ',' ORDER BY id)) FROM item;
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT kind, sum(id) FROM item GROUP BY kind ORDER BY kind LIMIT 5;
VACUUM FULL item;
COPY (SELECT * FROM item WHERE id < 200 ORDER BY id) TO STDOUT;
"""

BALANCES = """SELECT sum(abalance), md5(string_agg(aid || ':' || abalance, ',' ORDER BY aid)) FROM pgbench_accounts;
SELECT md5(string_agg(tid || ':' || tbalance, ',' ORDER BY tid)) FROM pgbench_tellers;
SELECT count(*), sum(delta) FROM pgbench_history;"""


def bin_folder():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    return os.path.dirname(found[-1]) if found else None


@unittest.skipUnless(bin_folder() and shutil.which("psql"), "not installed: postgresql")
class Postgres(Case):
    def tool(self, name, *args):
        return [os.path.join(bin_folder(), name), *args]

    def run_tool(self, shim, name, *args, stdin=b""):
        run = self.run_once(self.tool(name, *args), shim, stdin=stdin, user=USER)
        self.assertEqual(run.status, 0, f"{name}: {run.err[-2000:]!r}")
        return run

    def wait_accepting(self, server, to):
        """The port answers while the server still says "starting up"; pg_isready knows the difference."""
        while subprocess.run([self.tool("pg_isready")[0], *to, "-q"]).returncode != 0:
            try:
                server.wait(0.05)
                self.fail("postgres ended while it was starting up")
            except subprocess.TimeoutExpired:
                pass

    def session(self, shim):
        self.make_work(user=USER)
        data = os.path.join(self.work, "data")
        initdb = self.run_tool(shim, "initdb", "-D", data, "-A", "trust", "-U", USER, "--no-sync", "--no-instructions",
                               "-E", "UTF8", "--locale=C")
        server, port, log = self.start_server(lambda port: self.tool(
            "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", self.work, "-F", "-c",
            "shared_buffers=16MB", "-c", "max_wal_size=64MB",
            # what follows its own timing would order rows anew: a scan that joins another in its middle, a vacuum
            "-c", "synchronize_seqscans=off", "-c", "autovacuum=off"), shim, greet=b"\0\0\0\x08\x04\xd2\x16\x2f", user=USER)
        to = ["-h", "127.0.0.1", "-p", str(port), "-U", USER]
        self.wait_accepting(server, to)
        said = [initdb, self.run_tool(shim, "psql", *to, "-X", "-f", "-", stdin=SQL.encode())]
        self.run_tool(shim, "pgbench", *to, "-i", "-q", "-s", "1", "postgres")
        bench = self.run_tool(shim, "pgbench", *to, "-n", "-c", str(CLIENTS), "-j", "2", "-t", str(TRANSACTIONS),
                              "--random-seed=7", "-M", "prepared", "postgres")
        select = self.run_tool(shim, "pgbench", *to, "-n", "-S", "-C", "-c", "2", "-t", "100", "--random-seed=7",
                               "postgres")
        for run, count in ((bench, CLIENTS * TRANSACTIONS), (select, 200)):
            self.assertRegex(run.out, rb"actually processed: %d/%d\n" % (count, count))
            self.quiet(run.err)
        said.append(self.run_tool(shim, "psql", *to, "-X", "-A", "-c", BALANCES))
        said.append(self.run_tool(shim, "pg_dump", *to, "-t", "pgbench_branches", "-t", "item", "--inserts"))
        self.stop(server, signal.SIGINT)
        log.seek(0)
        text = log.read()
        self.quiet(text)
        self.assertNotRegex(text, rb"PANIC|was terminated|exited with exit code [^1]|crash")
        self.assertIn(b"database system is shut down", text)
        return server, said

    def test_initdb_psql_pgbench(self):
        _, plain = self.session(False)
        server, shimmed = self.session(True)
        for one, other in zip(plain, shimmed):
            self.same(one, other, lambda text: re.sub(rb"\\(un)?restrict \w+", b"", text))
        self.assertIn(b"relation \"missing\" does not exist", shimmed[1].err)
        self.check_reports(server.pid, 500, exe="postgres")
        if not STANDS_IN:
            backends = [r for r in self.reports().values() if r["run"]["ppid"] == server.pid]
            self.assertGreaterEqual(len(backends), CLIENTS, "reports of forked backends")
        for exe in ("initdb", "psql", "pgbench", "pg_dump"):
            self.report_of_child(exe, 500)


if __name__ == "__main__":
    unittest.main()
