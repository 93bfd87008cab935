#!/usr/bin/python3
"""Requests counted by unmodified servers under the shim, against the requests that the clients sent: within 1 %, and
besides, what opens a connection where the protocol has such a thing. Servers of each kind: one event loop (redis, node,
lighttpd), event loops in processes or threads (nginx, memcached), a thread a connection (python3, Apache's event workers),
a process a connection (Apache prefork, PostgreSQL). With pipelining the turn is counted."""

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from shimmed import STANDS_IN, Case, need, write
from test_postgres import USER, bin_folder

HELLO = "<html>" + "hello " * 50 + "</html>\n"

NGINX_CONF = """daemon off;
{user}
worker_processes 2;
pid {work}/{name}.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 100000;
    client_body_temp_path {work}/body{name}; proxy_temp_path {work}/proxy{name}; fastcgi_temp_path {work}/fastcgi{name};
    uwsgi_temp_path {work}/uwsgi{name}; scgi_temp_path {work}/scgi{name};
    server {{ listen 127.0.0.1:{port} {ssl}; root {work}/htdocs; location / {{ {location} }} }}
}}
"""

APACHE_CONF = """ServerRoot {work}
ServerName localhost
PidFile {work}/apache.pid
LoadModule mpm_{mpm}_module /usr/lib/apache2/modules/mod_mpm_{mpm}.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
{user}
Listen 127.0.0.1:{port}
ErrorLog {work}/error.log
DocumentRoot {work}/htdocs
KeepAlive On
MaxKeepAliveRequests 0
StartServers 2
{threads}
"""

LIGHTTPD_CONF = """server.document-root = "{work}/htdocs"
server.port = {port}
server.bind = "127.0.0.1"
server.max-keep-alive-requests = 100000
"""

PYTHON_SERVER = """
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one write: else each answer waits for an acknowledgement
    def do_GET(self):
        body = b"hello " * 50
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
def stop(*_):
    raise SystemExit(0)
signal.signal(signal.SIGTERM, stop)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = True
server.serve_forever()
"""

NODE_SERVER = """
const server = require('http').createServer((request, response) => response.end('hello '.repeat(50)));
server.listen(Number(process.argv[1]), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
"""

GREET = b"GET / HTTP/1.0\r\n\r\n"


class Requests(Case):
    conf = ",".join(filter(None, [Case.conf, "report_min:0"]))

    def prepare(self, folder):
        write(folder, "htdocs/index.html", HELLO)
        os.chmod(folder, 0o755)

    def http_load(self, port, connections, each, context=None):
        """Requests one after another on keep-alive connections, four at a time. Returns how many were sent."""
        wrong = []

        def client(count):
            for _ in range(count):
                conn = (http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context) if context else
                        http.client.HTTPConnection("127.0.0.1", port, timeout=60))
                for _ in range(each):
                    conn.request("GET", "/index.html")
                    answer = conn.getresponse()
                    body = answer.read()
                    if answer.status != 200 or b"hello" not in body:
                        wrong.append((answer.status, body[:100]))
                conn.close()

        clients = [threading.Thread(target=client, args=(connections // 4,)) for _ in range(4)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        self.assertEqual(wrong[:3], [])
        return connections // 4 * 4 * each

    def counted(self, sent, exe, besides=0):
        """The requests that processes of that program reported: `sent`, or up to one in a hundred and `besides` more."""
        if STANDS_IN:
            return []
        reports = self.reports()
        self.validate(list(reports))
        found = [r["requests"] for r in reports.values() if re.match(exe, os.path.basename(r["run"]["exe"]))]
        count = sum(r["count"] for r in found)
        self.assertTrue(sent * 0.99 <= count <= sent * 1.01 + besides,
                        f"{count} counted of {sent} sent: " + str([(r["count"], r["accepted"], r["silent"]) for r in found]))
        accounted = sum(r["accounted"] for r in found)
        self.assertGreater(accounted, 0, "no request was accounted")
        return [r for r in found if r["count"]]

    def nginx(self, port, name="nginx", location="", ssl_conf=""):
        user = "user nobody nogroup;" if os.geteuid() == 0 else ""
        text = NGINX_CONF.format(user=user, work=self.work, port=port, name=name, location=location,
                                 ssl="ssl" if ssl_conf else "")
        path = write(self.work, name + ".conf", text.replace("location / {", ssl_conf + " location / {"))
        return ["nginx", "-e", "stderr", "-c", path, "-p", self.work]


@need("redis-server", "redis-benchmark")
class Redis(Requests):
    def session(self, *load):
        self.make_work()
        server, port, _ = self.start_server(lambda port: [
            "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir",
            self.work], True, greet=b"PING\r\n")
        done = self.run_once(["redis-benchmark", "-p", str(port), "-q", *load], False)
        self.assertEqual(done.status, 0, done.err)
        self.stop(server)

    def test_one_by_one(self):
        self.session("-n", "10000", "-c", "20", "-t", "set,get")
        self.counted(20000, "redis")

    def test_pipelined_is_counted_by_turns(self):
        self.session("-n", "20000", "-c", "4", "-P", "20", "-t", "set")
        self.counted(1000, "redis", besides=100)


@need("memcached")
class Memcached(Requests):
    CLIENTS, EACH = 6, 1500

    def talk(self, port, number, wrong):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as conn:
            stream = conn.makefile("rwb")
            for i in range(self.EACH):
                value = b"v" * (i * 37 % 900)
                if i % 2:
                    stream.write(b"get k%d-%d\r\n" % (number, i % 50))
                else:
                    stream.write(b"set k%d-%d 0 0 %d\r\n%s\r\n" % (number, i % 50, len(value), value))
                stream.flush()
                line = stream.readline()
                while line.startswith(b"VALUE"):
                    stream.read(int(line.split()[3]) + 2)
                    line = stream.readline()
                if line not in (b"END\r\n", b"STORED\r\n"):
                    wrong.append(line)
            stream.close()

    def test_threads(self):
        self.make_work()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        server, port, _ = self.start_server(lambda port: ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t",
                                                          "4", *user], True, greet=b"version\r\n")
        wrong = []
        clients = [threading.Thread(target=self.talk, args=(port, n, wrong)) for n in range(self.CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.assertEqual(wrong[:3], [])
        self.stop(server)
        self.counted(self.CLIENTS * self.EACH, "memcached", besides=2)


@need("nginx", "openssl")
class Nginx(Requests):
    def session(self, **kw):
        server, port, _ = self.start_server(lambda port: self.nginx(port, **kw), True,
                                            greet=None if kw.get("ssl_conf") else GREET)
        return server, port

    def test_static(self):
        self.make_work(self.prepare)
        server, port = self.session()
        sent = self.http_load(port, 20, 150) + self.http_load(port, 400, 1)
        self.stop(server, signal.SIGQUIT)
        self.counted(sent, "nginx", besides=2)

    def test_proxy(self):
        self.make_work(self.prepare)
        _, behind, _ = self.start_server(lambda port: self.nginx(port, name="behind"), False, greet=GREET)
        server, port = self.session(location=f"proxy_pass http://127.0.0.1:{behind};")
        sent = self.http_load(port, 20, 150)
        self.stop(server, signal.SIGQUIT)
        found = self.counted(sent, "nginx", besides=2)
        # A request is answered after the upstream's answer, in another turn of the loop: its buffers belong to it.
        if found:
            self.assertGreater(sum(r["alloc_space"] for r in found) / sum(r["weight"] for r in found), 4096)

    def test_tls(self):
        self.make_work(self.prepare)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", self.work + "/key.pem", "-out", self.work + "/cert.pem"], check=True,
                       stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.chmod(self.work + "/key.pem", 0o644)
        conf = f"ssl_certificate {self.work}/cert.pem; ssl_certificate_key {self.work}/key.pem;"
        server, port = self.session(ssl_conf=conf)
        context = ssl.create_default_context(cafile=self.work + "/cert.pem")
        context.check_hostname = False
        sent = self.http_load(port, 8, 300, context)
        self.stop(server, signal.SIGQUIT)
        self.counted(sent, "nginx", besides=8 * 3)  # turns of the handshake


@need("lighttpd")
class Lighttpd(Requests):
    def test_static(self):
        self.make_work(self.prepare)
        server, port, _ = self.start_server(lambda port: [
            "lighttpd", "-D", "-f", write(self.work, "lighttpd.conf", LIGHTTPD_CONF.format(work=self.work, port=port))],
            True, greet=GREET)
        sent = self.http_load(port, 20, 150)
        self.stop(server, signal.SIGINT)
        self.counted(sent, "lighttpd", besides=2)


@need("apache2")
class Apache(Requests):
    def session(self, mpm, threads):
        self.make_work(self.prepare)
        user = "User nobody\nGroup nogroup" if os.geteuid() == 0 else ""

        def argv(port):
            conf = APACHE_CONF.format(work=self.work, mpm=mpm, user=user, port=port, threads=threads)
            return ["apache2", "-f", write(self.work, "apache.conf", conf), "-DFOREGROUND"]

        server, port, _ = self.start_server(argv, True, greet=GREET)
        sent = self.http_load(port, 20, 150)
        self.stop(server, signal.SIGWINCH)  # gracefully: its children leave by exit
        self.counted(sent, "apache2", besides=10)

    def test_event(self):
        self.session("event", "ThreadsPerChild 8\nMaxRequestWorkers 16")

    def test_prefork(self):
        self.session("prefork", "MaxRequestWorkers 8")


class Interpreters(Requests):
    def session(self, argv, exe, besides=2):
        self.make_work(self.prepare)
        server, port, _ = self.start_server(lambda port: [*argv, str(port)], True, greet=GREET)
        sent = self.http_load(port, 20, 150)
        self.stop(server)
        self.counted(sent, exe, besides)

    def test_python_threads(self):
        self.session(["/usr/bin/python3", "-c", PYTHON_SERVER], "python3")

    @need("node")
    def test_node(self):
        self.session(["node", "-e", NODE_SERVER], "node")


@unittest.skipUnless(bin_folder(), "not installed: postgresql")
class Postgres(Requests):
    CLIENTS, EACH = 4, 1000

    def tool(self, name, *args):
        return [os.path.join(bin_folder(), name), *args]

    def run_tool(self, name, *args):
        run = self.run_once(self.tool(name, *args), False, user=USER)
        self.assertEqual(run.status, 0, f"{name}: {run.err[-2000:]!r}")

    def test_statements(self):
        self.make_work(user=USER)
        data = os.path.join(self.work, "data")
        self.run_tool("initdb", "-D", data, "-A", "trust", "-U", USER, "--no-sync", "--no-instructions", "-E", "UTF8",
                      "--locale=C")
        server, port, _ = self.start_server(lambda port: self.tool(
            "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", self.work, "-F", "-c", "autovacuum=off"),
            True, greet=b"\0\0\0\x08\x04\xd2\x16\x2f", user=USER)
        to = ["-h", "127.0.0.1", "-p", str(port), "-U", USER]
        while subprocess.run([self.tool("pg_isready")[0], *to, "-q"], check=False).returncode != 0:
            self.assertIsNone(server.poll(), "postgres ended while it was starting up")
        self.run_tool("pgbench", *to, "-i", "-q", "-s", "1", "postgres")
        self.run_tool("pgbench", *to, "-n", "-S", "-c", str(self.CLIENTS), "-j", "2", "-t", str(self.EACH), "postgres")
        self.stop(server, signal.SIGINT)
        # start-up, and what pgbench asks to fill its tables and to know its scale
        self.counted(self.CLIENTS * self.EACH, "postgres", besides=60)


if __name__ == "__main__":
    unittest.main()
