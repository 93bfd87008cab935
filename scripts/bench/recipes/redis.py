"""Redis under redis-benchmark: strings, hashes, lists and sorted sets over 100,000 keys, pipelined so that the server's
core is the one that is busy. Every key, value and list node is a malloc, every overwritten value a free of an old one.
Debian's redis-server links jemalloc by itself."""

NEEDS = {"redis-server": "redis-server", "redis-cli": "redis-tools", "redis-benchmark": "redis-tools"}
SERVER = ["redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--dir", "{work}", "--save", "", "--appendonly", "no",
          "--daemonize", "no", "--logfile", "", "--loglevel", "warning", "--latency-tracking", "no"]
READY = ["redis-cli", "-h", "127.0.0.1", "-p", "{port}", "-e", "ping"]
LOAD = ["redis-benchmark", "-h", "127.0.0.1", "-p", "{port}", "-n", "150000", "-c", "20", "-P", "16", "-r", "100000",
        "-d", "120", "--csv", "-t", "set,get,hset,lpush,rpop,zadd"]


def _row(test, column):
    """The column (1: requests/s, 4 to 6: p50, p95, p99 in ms) of a test's row."""
    return rf'"{test}(?: [^"]*)?"' + r',"[\d.]+"' * (column - 1) + r',"([\d.]+)"'


METRICS = [(f"{test} throughput", _row(test.upper(), 1), "/s", True) for test in ("set", "get", "hset", "lpush", "zadd")] + [
    ("set p50", _row("SET", 4), "ns", False, 1e6), ("set p99", _row("SET", 6), "ns", False, 1e6)]
CHECK = r'"ZADD"'
