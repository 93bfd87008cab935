#!/usr/bin/python3
"""A thread that only allocates and one that only frees: the peak of memory, held against jemalloc's.

The bound is structural: a tenth more, and what sluice needs in any program. An allocator that loses what crosses needs ten
times as much.
"""

import os
import unittest

import victims

JEMALLOC = "libjemalloc.so.2"
BLOCKS, FIXED_KIB = 2000000, 6 << 10


class OneWay(victims.Case):
    def peak_kib(self, preload, conf):
        """Peak RSS in KiB of one run, from the kernel's books."""
        folder = self.fresh_folder()
        env = {k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}
        env.update(LD_PRELOAD=preload, SLUICE_CONF=",".join(["report:off"] + conf))
        victim = victims.victim("one_way")
        out = os.open(folder + "/out", os.O_WRONLY | os.O_CREAT, 0o600)
        pid = os.posix_spawn(victim, [victim, str(BLOCKS)], env, file_actions=[(os.POSIX_SPAWN_DUP2, out, 1)])
        os.close(out)
        _, status, usage = os.wait4(pid, 0)
        with open(folder + "/out") as f:
            self.assertEqual((os.waitstatus_to_exitcode(status), f.read()), (0, "ok\n"))
        return usage.ru_maxrss

    def test_peak(self):
        plain = self.run_command(["/usr/bin/env", "true"], env={"LD_PRELOAD": JEMALLOC}, preload=None)
        if plain.err:
            self.skipTest(JEMALLOC + " is not installed")
        bound = self.peak_kib(JEMALLOC, []) * 1.1 + FIXED_KIB
        for conf in ([], ["own:off"], ["decay:0"], ["budget:0"]):
            with self.subTest(conf=conf):
                self.assertLessEqual(self.peak_kib(victims.LIBRARY, conf), bound)


if __name__ == "__main__":
    unittest.main()
