#!/usr/bin/python3
"""Servers under the shim: redis under redis-benchmark, nginx under ab and wrk, memcached under a threaded client. Each
starts twice (plain, shimmed), gets the same conversation, whose answers must be the same bytes, then load; it must end
cleanly and leave valid reports. redis links jemalloc itself, nginx overwrites its environment and forks workers,
memcached gives up root: each of these has broken preloaded allocators."""

import hashlib
import http.client
import os
import random
import re
import select
import signal
import socket
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from shimmed import STANDS_IN, Case, children, need, write

REDIS_TALK = """SET a 1
INCRBY a 41
APPEND a xyz
HSET h f1 v1 f2 v2 f3 v3
HGETALL h
EVAL "local t = {} for i = 1, 3000 do t[i] = redis.call('rpush', 'l' .. i % 50, string.rep('v', i % 200)) end return #t" 0
LLEN l7
LRANGE l7 0 9
ZADD z 3 c 1 a 2 b
ZRANGEBYSCORE z 1 2 WITHSCORES
XADD s 1-1 k v
XADD s 2-1 k w
XRANGE s - +
SETBIT bits 100000 1
BITCOUNT bits
PFADD hll a b c d e f
PFCOUNT hll
GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
GEODIST g Palermo Catania
DEBUG POPULATE 20000 key 300
DBSIZE
SORT l7 ALPHA LIMIT 0 3
OBJECT ENCODING l7
COPY l7 l7copy
RENAME l7copy l8copy
GETRANGE key:77 0 20
SETRANGE key:77 200000 far
STRLEN key:77
DEL key:1 key:2 key:3 nosuch
EVAL "for i = 1, 9999 do redis.call('del', 'key:' .. i) end return redis.call('dbsize')" 0
DEBUG DIGEST
SAVE
DEBUG RELOAD
DEBUG DIGEST
MEMORY PURGE
NOSUCH command
FLUSHALL
DBSIZE
"""

NGINX_CONF = """daemon off;
{user}
worker_processes 1;
pid {work}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log {work}/access.log;
    client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {work}/htdocs;
        location /gzip/ {{ alias {work}/htdocs/; gzip on; gzip_types *; gzip_min_length 10; }}
        location /proxy/ {{ proxy_pass http://127.0.0.1:{port}/gzip/; proxy_buffering on; }}
        location /sub/ {{ alias {work}/htdocs/; sub_filter 'word' 'WORD'; sub_filter_once off; }}
        location /moved {{ rewrite ^/moved(.*)$ /$1 redirect; }}
    }}
}}
"""


@need("redis-server", "redis-cli", "redis-benchmark")
class Redis(Case):
    def session(self, shim):
        self.make_work()
        server, port, log = self.start_server(lambda port: [
            "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir",
            self.work, "--enable-debug-command", "yes"], shim, greet=b"PING\r\n")
        cli = ["redis-cli", "-p", str(port)]
        talk = self.run_once(cli, shim, stdin=REDIS_TALK.encode())
        load = [self.run_once(["redis-benchmark", "-p", str(port), "-n", "8000", "-c", "20", "-d", "100", "-r", "5000",
                               "-P", "4", "--csv", *more], shim) for more in (
            ["-t", "ping,set,get,incr,lpush,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset"],
            ["-t", "set,get,lpush", "--threads", "2"])]
        self.assertEqual([run.status for run in load], [0, 0], load[-1].err)
        self.save_in_background(cli, shim)
        memory = self.run_once(cli, shim, stdin=b"INFO memory\nMEMORY DOCTOR\nMEMORY MALLOC-STATS\nMEMORY USAGE mylist\n")
        self.assertEqual(memory.status, 0)
        used = int(re.search(rb"used_memory:(\d+)", memory.out)[1])
        self.assertGreater(used, 1 << 20)
        self.stop(server)
        self.server = server
        log.seek(0)
        self.quiet(log.read())
        tests = re.findall(rb'^"([^"]+)",', load[0].out + load[1].out, re.M)
        self.assertGreater(len(tests), 12)
        return talk, tests, used

    def save_in_background(self, cli, shim):
        # A forked child writes the file. Asking for the save's end is a conversation, so it needs no pause.
        self.assertIn(b"started", self.run_once(cli + ["BGSAVE"], shim).out)
        while b"rdb_bgsave_in_progress:1" in (info := self.run_once(cli + ["INFO", "persistence"], shim)).out:
            pass
        self.assertIn(b"rdb_last_bgsave_status:ok", info.out)

    def test_conversation_and_benchmark(self):
        plain_talk, plain_tests, plain_used = self.session(False)
        talk, tests, used = self.session(True)
        self.same(plain_talk, talk)
        self.assertIn(b"ERR unknown command", talk.out)
        self.assertEqual(tests, plain_tests)
        # used_memory adds up malloc_usable_size of every block: pointers counted with the wrong allocator run away.
        self.assertLess(abs(used - plain_used), plain_used)
        self.check_reports(self.server.pid, 10000)
        self.report_of_child("redis-benchmark", 500)


@need("nginx", "ab", "wrk")
class Nginx(Case):
    PATHS = ["/", "/page.txt", "/gzip/page.txt", "/proxy/page.txt", "/sub/page.txt", "/moved/x", "/none", "/big.bin"]

    def prepare(self, folder):
        rng = random.Random(21)
        words = " ".join(rng.choice(("word", "other", "third")) + str(rng.randrange(99)) for _ in range(4000))
        write(folder, "htdocs/index.html", "<html>hello</html>\n")
        write(folder, "htdocs/page.txt", words)
        write(folder, "htdocs/big.bin", rng.randbytes(700000))
        os.chmod(folder, 0o755)

    def configure(self, port):
        user = "user nobody nogroup;" if os.geteuid() == 0 else ""
        path = write(self.work, "nginx.conf", NGINX_CONF.format(user=user, work=self.work, port=port))
        return ["nginx", "-e", "stderr", "-c", path, "-p", self.work]

    def conversation(self, port):
        said = []
        for path in self.PATHS * 3:
            for headers in ({}, {"Accept-Encoding": "gzip"}, {"Range": "bytes=5-99"}):
                conn = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                conn.request("GET", path, headers=headers)
                answer = conn.getresponse()
                body = answer.read()
                kept = [(k, v) for k, v in answer.getheaders()
                        if k not in ("Date", "ETag", "Last-Modified", "Location")]
                said.append((path, answer.status, kept, hashlib.sha256(body).hexdigest()))
                conn.close()
        return said

    def load(self, port, shim):
        for path in ("/page.txt", "/gzip/page.txt", "/proxy/page.txt"):
            done = self.run_once(["ab", "-q", "-k", "-n", "1500", "-c", "16", f"http://127.0.0.1:{port}{path}"], shim)
            self.assertEqual(done.status, 0, done.err)
            self.assertIn(b"Complete requests:      1500\n", done.out)
            self.assertIn(b"Failed requests:        0\n", done.out)
        done = self.run_once(["wrk", "-t2", "-c20", "-d1s", f"http://127.0.0.1:{port}/sub/page.txt"], shim)
        self.assertEqual(done.status, 0, done.err)
        self.assertNotIn(b"Socket errors", done.out)
        self.assertNotIn(b"Non-2xx", done.out)
        self.quiet(done.err)

    def reload(self, server):
        """SIGHUP: the old worker must end by itself, which its pidfd tells."""
        worker = os.pidfd_open(children(server.pid)[0])
        self.addCleanup(os.close, worker)
        server.send_signal(signal.SIGHUP)
        poll = select.poll()
        poll.register(worker, select.POLLIN)
        self.assertTrue(poll.poll(60000), "the old worker did not end after SIGHUP")

    def session(self, shim):
        self.make_work(self.prepare)
        server, port, log = self.start_server(self.configure, shim, greet=b"GET / HTTP/1.0\r\n\r\n")
        said = self.conversation(port)
        self.load(port, shim)
        self.reload(server)
        self.load(port, shim)  # so that the new worker, too, allocates enough to report
        said += self.conversation(port)
        self.stop(server, signal.SIGQUIT)
        log.seek(0)
        text = log.read()
        self.quiet(text)
        self.assertNotRegex(text, rb"exited on signal|exited with code [1-9]|\[(emerg|alert|crit)\]")
        return server, said

    def test_conversation_load_reload(self):
        _, plain = self.session(False)
        server, said = self.session(True)
        self.assertEqual(said, plain)
        self.assertEqual({answer[1] for answer in said}, {200, 206, 302, 404})
        self.check_reports(server.pid, 200, exe="nginx")
        workers = [] if STANDS_IN else [r for r in self.reports().values() if r["run"]["ppid"] == server.pid]
        if not STANDS_IN:
            self.assertGreaterEqual(len(workers), 2, "a report by the worker before SIGHUP and by the one after")


@need("memcached")
class Memcached(Case):
    THREADS = 6

    def argv(self, port):
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "4", "-m", "48", *user]

    def talk(self, port, number, answers):
        """One client: keys of its own, so that its answers do not depend on the other clients."""
        rng, digest = random.Random(number), hashlib.sha256()
        conn = socket.create_connection(("127.0.0.1", port), timeout=60)
        stream = conn.makefile("rwb")
        for i in range(1500):
            key, value = b"k%d-%d" % (number, rng.randrange(300)), b"v" * rng.randrange(1, 4000)
            stream.write(b"set %s %d 0 %d\r\n%s\r\n" % (key, i, len(value), value))
            stream.write(b"get %s\r\nappend %s 0 0 3\r\nabc\r\nmg %s v f s\r\n" % (key, key, key))
            if i % 7 == 0:
                stream.write(b"delete %s\r\nget %s\r\n" % (key, key))
            if i % 11 == 0:
                stream.write(b"set n%d 0 0 1\r\n5\r\nincr n%d %d\r\n" % (number, number, i))
            stream.write(b"mn\r\n")
            stream.flush()
            while (line := stream.readline()) not in (b"MN\r\n", b""):
                digest.update(line)
        answers[number] = digest.hexdigest()
        conn.close()

    def session(self, shim):
        self.make_work()
        server, port, log = self.start_server(self.argv, shim, greet=b"version\r\n")
        answers = {}
        clients = [threading.Thread(target=self.talk, args=(port, n, answers)) for n in range(self.THREADS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.assertEqual(len(answers), self.THREADS, "a client did not get to its end")
        with socket.create_connection(("127.0.0.1", port), timeout=60) as conn:
            conn.sendall(b"stats\r\nquit\r\n")
            stats = dict(re.findall(rb"STAT (\w+) (\S+)", b"".join(iter(lambda: conn.recv(65536), b""))))
        self.stop(server)
        log.seek(0)
        self.quiet(log.read())
        return server, answers, [stats[k] for k in (b"curr_items", b"cmd_set", b"get_hits", b"get_misses", b"bytes")]

    def test_threaded_clients(self):
        _, plain, plain_stats = self.session(False)
        server, answers, stats = self.session(True)
        self.assertEqual(answers, plain)
        self.assertEqual(stats, plain_stats)
        self.check_reports(server.pid, 50, exe="memcached")


if __name__ == "__main__":
    unittest.main()
