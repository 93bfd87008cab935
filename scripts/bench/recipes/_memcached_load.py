#!/usr/bin/python3
"""_memcached_load.py PORT [--ready]: a load for memcached whose answers are known in advance. --ready: asks for the
version once, exit status 0 when it is said.

Everything that is sent is put together before the clock starts, and so is what must come back, by a dictionary that does
what memcached should. Each of the connections has keys of its own and sends a batch of some hundred commands at a time;
the next one follows when the answer is complete. So the client moves long byte strings and nothing more, and the server
is the one that works. The same batches are sent over and over: as they set and delete keys whatever these were before,
all rounds but the first have the same answers. The first round is not measured.

Prints commands/s and the percentiles of a batch's time; exit status 1 with the first difference when an answer differs.
"""

import random
import selectors
import socket
import sys
import time

CONNECTIONS, BATCHES, COMMANDS = 8, 4, 250
ROUNDS = 18  # well under a second: memcached looks once a second whether it was asked to end
KEYS = 1500  # of each connection
WAIT_S = 60  # a bound against hangs


class Model:
    """What one connection sends and must get back. A command is its text and what works out its answer."""

    def __init__(self, number):
        self.rng, self.number, self.values = random.Random(number), number, {}

    def key(self):
        return b"connection-%d:user-%05d:some-part" % (self.number, int(KEYS * self.rng.random() ** 2))

    def item(self, key):
        """One key's part of the answer to `get`."""
        value = self.values.get(key)
        return b"" if value is None else b"VALUE %s 0 %d\r\n%s\r\n" % (key, len(value), value)

    def set(self):
        key, value = self.key(), b"%x" % self.rng.getrandbits(64) * self.rng.randrange(1, 40)
        return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value), lambda: self.store(key, value)

    def store(self, key, value):
        self.values[key] = value
        return b"STORED\r\n"

    def get(self, count=1):
        keys = [self.key() for _ in range(count)]
        return b"get %s\r\n" % b" ".join(keys), lambda: b"".join(map(self.item, keys)) + b"END\r\n"

    def delete(self):
        key = self.key()
        return b"delete %s\r\n" % key, lambda: b"NOT_FOUND\r\n" if self.values.pop(key, None) is None else b"DELETED\r\n"

    def batch(self):
        """Commands, and a last one longer than the read buffer of 16 KiB that a worker lends: that one memcached mallocs."""
        kinds = self.rng.choices((self.get, self.set, self.delete), (65, 32, 3), k=COMMANDS)
        return [kind() for kind in kinds] + [self.get(600)]

    def batches(self):
        """[(text, answer in the first round, answer in the others)]"""
        made = [self.batch() for _ in range(BATCHES)]
        first, others = ([b"".join(answer() for _, answer in batch) for batch in made] for _ in range(2))
        return [(b"".join(text for text, _ in batch), *answers) for batch, *answers in zip(made, first, others)]


class Talk:
    """One connection, which may be sent through its batches again and again."""

    def __init__(self, port, number):
        self.number, self.batches = number, Model(number).batches()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = memoryview(bytearray(max(len(answer) for batch in self.batches for answer in batch[1:]) + 1))

    def begin(self, rounds, answer):
        """To go through all batches that often; `answer`: which of a batch's, 1 or 2."""
        self.left, self.answer, self.times = [batch for _ in range(rounds) for batch in self.batches][::-1], answer, []
        self.next()

    def next(self):
        self.unsent, self.came, self.began = memoryview(self.left[-1][0]), 0, time.perf_counter_ns()

    def go_on(self, events):
        """Send and receive what goes without waiting; False after the last answer."""
        if events & selectors.EVENT_WRITE and self.unsent:
            self.unsent = self.unsent[self.socket.send(self.unsent):]
        if events & selectors.EVENT_READ:
            part = self.socket.recv_into(self.buffer[self.came:])
            if not part:
                sys.exit(f"connection {self.number}: the server hung up")
            self.came += part
            if self.came >= len(self.left[-1][self.answer]):
                return self.finish_batch()
        return True

    def finish_batch(self):
        self.times.append(time.perf_counter_ns() - self.began)
        expected = self.left.pop()[self.answer]
        came = bytes(self.buffer[:self.came])
        if came != expected:
            at = next((i for i, (a, b) in enumerate(zip(came, expected)) if a != b), min(len(came), len(expected)))
            sys.exit(f"connection {self.number}, byte {at} of an answer: {came[at:at + 60]!r} came, "
                     f"{expected[at:at + 60]!r} was expected")
        if self.left:
            self.next()
        return bool(self.left)

    def wants(self):
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.unsent else 0)


def converse(talks, rounds, answer):
    """Until every connection is through; returns the time in nanoseconds."""
    selector, began = selectors.DefaultSelector(), time.perf_counter_ns()
    for talk in talks:
        talk.begin(rounds, answer)
        selector.register(talk.socket, talk.wants(), talk)
    while selector.get_map():
        events = selector.select(WAIT_S)
        if not events:
            sys.exit(f"no answer in {WAIT_S} s")
        for key, happened in events:
            if not key.data.go_on(happened):
                selector.unregister(key.fileobj)
            elif key.data.wants() != key.events:
                selector.modify(key.fileobj, key.data.wants(), key.data)
    return time.perf_counter_ns() - began


def ready(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as asked:
            asked.sendall(b"version\r\n")
            return asked.recv(64).startswith(b"VERSION ")
    except OSError:
        return False


def main():
    port = int(sys.argv[1])
    if "--ready" in sys.argv:
        sys.exit(not ready(port))
    talks = [Talk(port, number) for number in range(CONNECTIONS)]
    converse(talks, 1, 1)
    took = converse(talks, ROUNDS, 2)
    times = sorted(time for talk in talks for time in talk.times)
    print(f"{len(times)} batches, all answers right")
    print(f"commands/s {len(times) * (COMMANDS + 1) / took * 1e9:.0f}")
    for percent in (50, 99):
        print(f"p{percent} {times[len(times) * percent // 100]} ns")


if __name__ == "__main__":
    main()
