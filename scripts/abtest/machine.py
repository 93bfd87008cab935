"""machine: what the measurement ran on, and who else was using it."""

import os
import platform
import time


def describe():
    """For the reader of a result file; no host name."""
    model = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "")
    except OSError:
        pass
    with open("/proc/meminfo", encoding="ascii") as f:
        total = int(next(line.split()[1] for line in f if line.startswith("MemTotal"))) * 1024
    return {"cpu": model or platform.machine(), "cores": len(os.sched_getaffinity(0)), "memory_bytes": total,
            "kernel": platform.release(), "libc": " ".join(platform.libc_ver()), "load_at_start": os.getloadavg()[0]}


class Watch:
    """CPU time that the whole machine was busy, or taken from it by the host, over a span."""

    def __init__(self):
        self.start, self.start_s = busy_ns(), time.monotonic()

    def others_share(self, own_cpu_ns):
        """Share of the machine's CPU time since the start that went elsewhere than into `own_cpu_ns`."""
        span = (time.monotonic() - self.start_s) * 1e9 * os.cpu_count()
        return max(0.0, min(1.0, (busy_ns() - self.start - own_cpu_ns) / span)) if span > 0 else 0.0


def busy_ns():
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, idle, iowait, irq, softirq, steal, *_ = map(int, f.readline().split()[1:])
    return (user + nice + system + irq + softirq + steal) * 1e9 / os.sysconf("SC_CLK_TCK")
