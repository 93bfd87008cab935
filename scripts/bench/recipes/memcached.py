"""memcached with one worker thread under eight connections: 140,000 pipelined gets, sets and deletes, and gets of 600 keys
at once. A program for which the allocator cannot matter, to be held against the others: values lie in slabs of memcached's
own; a sluice report counts some 800 mallocs in all, most of them the buffers of the longest requests."""

import os

NEEDS = {"memcached": "memcached", "/usr/bin/python3": "python3"}
# -u: root must name a user; for anybody else it is ignored.
SERVER = ["memcached", "-l", "127.0.0.1", "-p", "{port}", "-U", "0", "-t", "1", "-m", "256", "-u", "root"]
CLIENT = ["/usr/bin/python3", os.path.join(os.path.dirname(os.path.abspath(__file__)), "_memcached_load.py"), "{port}"]
READY = CLIENT + ["--ready"]
LOAD = CLIENT
METRICS = [("throughput", r"^commands/s (\d+)$", "/s", True), ("batch p50", r"^p50 (\d+) ns$", "ns", False),
           ("batch p99", r"^p99 (\d+) ns$", "ns", False)]
CHECK = r"^576 batches, all answers right$"
