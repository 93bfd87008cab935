"""nginx with one worker under ab: 13,000 requests over 16 connections, each of which goes through a proxy hop inside the same
server, sub-requests, a text filter and gzip. The pools of requests, their buffers and zlib's 256 KiB of state are malloc,
and the kernel has most of the time."""

import os

from ._data import Prose, write

NEEDS = {"nginx": "nginx", "ab": "apache2-utils"}
SERVER = ["nginx", "-e", "stderr", "-p", "{work}", "-c", "{work}/nginx.conf"]
READY = ["ab", "-q", "-n", "1", "http://127.0.0.1:{port}/small.txt"]
# -e: percentiles in ms with three digits behind the point; the ones on the screen are whole.
LOAD = ["ab", "-q", "-k", "-n", "13000", "-c", "16", "-H", "Accept-Encoding: gzip", "-e", "/dev/stdout",
        "http://127.0.0.1:{port}/proxy/page.html"]
METRICS = [("throughput", r"^Requests per second:\s+([\d.]+)", "/s", True), ("p50", r"^50,([\d.]+)$", "ns", False, 1e6),
           ("p99", r"^99,([\d.]+)$", "ns", False, 1e6)]
CHECK = r"(?s)Complete requests: +13000\nFailed requests: +0\n(?!.*Non-2xx)"
STOP = "QUIT"

CONF = """daemon off;
{user}
worker_processes 1;
pid {work}/nginx.pid;
error_log stderr error;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 100000;
    client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
    upstream self {{ server 127.0.0.1:{port}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        root {work}/htdocs;
        location / {{ ssi on; ssi_types *; sub_filter 'ka' 'KA'; sub_filter_once off; sub_filter_types *; }}
        location /proxy/ {{
            proxy_pass http://self/; proxy_http_version 1.1; proxy_set_header Connection "";
            gzip on; gzip_types *; gzip_comp_level 1; gzip_min_length 10;
        }}
    }}
}}
"""


def prepare(work, port):
    """Configuration and pages. Started by root, the worker still needs no other user: the folder is the run's own."""
    prose = Prose(12)
    part = prose.text(20)
    page = "".join(f'<p>{prose.text(12)} <!--# include virtual="/small.txt" --></p>\n' for _ in range(2))
    write(work, "htdocs/small.txt", part)
    write(work, "htdocs/page.html", f"<html>{page}</html>\n")
    user = "user root;" if os.geteuid() == 0 else ""
    write(work, "nginx.conf", CONF.format(user=user, work=work, port=port))
