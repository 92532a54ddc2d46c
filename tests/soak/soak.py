#!/usr/bin/env python3
"""The server under chaos: clients of every temper, faults inside, threads that get no processor, and its end in the middle.

  soak.py SOAK_SERVER MODEL [--minutes 3] [--seed 1] [--clients 10] [-- flags of serve]

First a quiet server answers every question alone. Then, in rounds, a server with faults is asked by all clients at once. A round
ends quietly (clients first, then the server), or with SIGTERM among running streams, or with SIGKILL. Wrong is: an answer that
differs from the quiet one, a status nobody asked for, a request that ends twice or never, a block, a file descriptor or memory that
is not given back, a server that ends with anything but 0, a sanitizer's report. All chance comes from the seed. With --replay the
recorded traces are lived again in simulation, where every invariant of the scheduler is checked at every step.
"""
import argparse
import collections
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

import clients
from questions import answers, make, request

FLAGS = ["--http-port", "0", "--grpc-port", "0", "--threads", "2", "--log-level", "off", "--drain-seconds", "2", "--stop-seconds", "3",
         "--canary-max-kl", "1000", "--max-running", "8", "--max-queue", "5", "--promised-tokens", "8"]
MOST_COMPLAINTS = 10
SETTLE_SECONDS, END_SECONDS, GONE_SECONDS = 60, 120, 10
MUST_HAPPEN = ("operation threw", "no memory", "operation late", "allocation refused", "preemptions", "prefix_evictions")
MEMORY_SHARE, MEMORY_MB = 1.10, 24  # what a round may add after its first third: allocators keep some


class Server:
    def __init__(self, command):
        self.log = tempfile.NamedTemporaryFile("r", prefix="soak-", suffix=".log")
        self.process = subprocess.Popen(command, stdout=open(self.log.name, "w"), stderr=subprocess.STDOUT)
        while self.process.poll() is None:
            text = self.text()
            http, grpc = re.search(r"http://127.0.0.1:(\d+)", text), re.search(r"grpc://127.0.0.1:(\d+)", text)
            if http and grpc:
                self.http, self.grpc = int(http[1]), int(grpc[1])
                return
            time.sleep(0.02)
        sys.exit(f"the server did not start:\n{self.text()}")

    def text(self):
        return open(self.log.name, errors="replace").read()

    def runs(self):
        return self.process.poll() is None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_mb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.process.pid}/status").read())[1]) / 1024

    def starve(self, dice, until):
        """Takes the processor from one of its threads after the other: for a moment each runs only when nobody else does."""
        while not until.is_set():
            try:
                thread = int(dice.choice(os.listdir(f"/proc/{self.process.pid}/task")))
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
                until.wait(dice.random() * 0.3)
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
            except OSError:
                pass  # the thread, or the server, has ended
            until.wait(dice.random() * 0.2)


class Crowd:
    """Clients that ask a server until they are told to stop; its threads are starved meanwhile."""

    def __init__(self, soak, server, seed):
        self.soak = soak
        self.stop, self.stopping = threading.Event(), threading.Event()
        self.clients = [clients.Client(server, soak.questions, soak.expected, seed + i, self.stopping.is_set)
                        for i in range(soak.a.clients)]
        self.threads = [threading.Thread(target=soak.ask, args=(client, self.stop)) for client in self.clients]
        self.threads.append(threading.Thread(target=server.starve, args=(random.Random(seed), self.stop)))
        for thread in self.threads:
            thread.start()

    def leave(self):
        self.stop.set()
        patience = GONE_SECONDS if self.stopping.is_set() else SETTLE_SECONDS
        end = time.monotonic() + patience
        for thread in self.threads:
            thread.join(max(0.1, end - time.monotonic()))
        if any(thread.is_alive() for thread in self.threads) and not self.stopping.is_set():
            self.soak.complain(f"clients still wait for answers after {patience} s")
        # Of a server that has gone, Python's gRPC does not always tell those who wait.
        for client in self.clients:
            client.close()
        for thread in self.threads:
            thread.join()


class Soak:
    def __init__(self, a):
        self.a = a
        self.dice = random.Random(a.seed)
        self.lock = threading.Lock()
        self.outcomes, self.totals, self.complaints = collections.Counter(), collections.Counter(), []

    def complain(self, text):
        with self.lock:
            self.complaints.append(text)
            if len(self.complaints) <= MOST_COMPLAINTS:
                print(f"WRONG: {text}", flush=True)

    def start(self, rate, *flags):
        seed = str(self.dice.randrange(1 << 30))
        return Server([self.a.server, str(rate), seed, self.a.model, *FLAGS, *self.a.flags, *flags])

    def learn(self):
        """Questions, and what a server says to them that does one thing at a time."""
        quiet = self.start(0, "--no-prefix-cache")
        card = json.loads(request(quiet.http, "GET", "/v1/models")[2])["data"][0]
        self.questions = make([level["name"] for level in card["skip"]["levels"]], card["max_model_len"], self.a.questions, self.a.seed)
        self.expected = answers(quiet.http, self.questions)
        quiet.process.terminate()
        if quiet.process.wait() != 0:
            sys.exit(quiet.text())

    def ask(self, client, until):
        while not until.is_set() and (client.stopping() or client.server.runs()):
            try:
                kind, outcome = client.act()
                with self.lock:
                    self.outcomes[kind, outcome] += 1
            except clients.Wrong as error:
                self.complain(str(error))
            except Exception as error:  # whatever it is, it must be seen
                self.complain(f"{type(error).__name__}: {error}")

    def round(self, seconds, ending):
        trace = tempfile.NamedTemporaryFile(prefix="soak-", suffix=".trace", delete=False)
        server = self.start(self.a.faults, "--canary", "0.2", "--record-trace", trace.name)
        if ending == "quiet":
            before = None
            for share in (1 / 3, 2 / 3):
                crowd = Crowd(self, server, self.dice.randrange(1 << 30))
                time.sleep(seconds * share)
                crowd.leave()
                if server.runs():
                    before = self.settle(server, before)
            code = self.end(server, signal.SIGTERM)
        else:
            crowd = Crowd(self, server, self.dice.randrange(1 << 30))
            time.sleep(seconds)
            crowd.stopping.set()
            code = self.end(server, ending)
            crowd.leave()
        if code != (-signal.SIGKILL if ending == signal.SIGKILL else 0):
            self.complain(f"the server ended with {code}:\n{server.text()[-6000:]}")
        elif ending != signal.SIGKILL:
            self.audit(server)
        if self.a.replay:
            replay = subprocess.run([self.a.replay, trace.name], capture_output=True, text=True)
            if replay.returncode:
                self.complain(f"the replay of {trace.name}: {replay.stderr}")
            else:
                os.unlink(trace.name)
            self.totals["requests replayed"] += int(replay.stdout.split()[0]) if replay.stdout else 0

    def end(self, server, how):
        server.process.send_signal(how)
        try:
            return server.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            server.process.kill()
            return "a kill: it did not end by itself"

    def settle(self, server, before):
        """With nobody there: no request, no block of any, no more descriptors or memory than the last time."""
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            for prefix in json.loads(request(server.http, "GET", "/v1/prefixes")[2])["data"]:
                request(server.http, "DELETE", f"/v1/prefixes/{prefix['name']}")
            load = json.loads(request(server.http, "GET", "/load")[2])
            left = {name: load[name] for name in ("waiting", "prefilling", "decoding", "kv_blocks_used", "kv_blocks_reserved")}
            now = {"descriptors": server.descriptors(), "MB": server.resident_mb()}
            settled = not any(left.values()) and (before is None or now["descriptors"] <= before["descriptors"])
            if settled or time.monotonic() > end:
                break
            time.sleep(0.1)
        if not settled:
            self.complain(f"left behind: {left}, {now} where {before} was")
        if before and self.a.memory and now["MB"] > MEMORY_SHARE * before["MB"] + MEMORY_MB:
            self.complain(f"memory grew from {before['MB']:.0f} to {now['MB']:.0f} MB")
        return now

    def audit(self, server):
        found = re.search(r"^LEDGER (.*)$", server.text(), re.MULTILINE)
        if not found:
            return self.complain(f"no ledger:\n{server.text()[-3000:]}")
        ledger = json.loads(found[1])
        ended = sum(ledger["ended"].values())
        if ledger["taken"] != ended:
            self.complain(f"{ledger['taken']} requests taken, {ended} ended")
        for name in ("ended_twice", "said_after_end", "never_ended", "miscounted", "cancelled_late", "kv_blocks_used", "kv_blocks_reserved"):
            if ledger[name]:
                self.complain(f"{name}: {ledger[name]}")
        self.totals.update(ledger["faults"])
        self.totals.update({name: ledger[name] for name in ("taken", "preemptions", "prefix_evictions")})

    def run(self):
        self.learn()
        endings = ["quiet", signal.SIGTERM, signal.SIGKILL]
        end = time.monotonic() + 60 * self.a.minutes
        rounds = max(3, round(self.a.minutes))
        for number in range(rounds):
            left = max(5.0, end - time.monotonic())
            self.round(left / (rounds - number), endings[number % 3])
        self.report()

    def report(self):
        kinds = collections.defaultdict(dict)
        for (kind, outcome), count in sorted(self.outcomes.items()):
            kinds[kind][outcome] = count
        for kind, counts in kinds.items():
            print(f"  {kind:<14}" + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
        print("  in the server  " + ", ".join(f"{count} {name}" for name, count in sorted(self.totals.items())))
        # A soak in which something never happened has not tested it.
        happened = {outcome for (_, outcome), count in self.outcomes.items()}
        for outcome in {"ok", "injected", "full", "hung up", "cancelled", "deadline", "refused", "stopping"} - happened:
            self.complain(f"no request was ever '{outcome}'")
        for name in MUST_HAPPEN:
            if not self.totals[name]:
                self.complain(f"never happened: {name}")
        print(f"{sum(self.outcomes.values())} requests, {len(self.complaints)} complaints")
        sys.exit(1 if self.complaints else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("model")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--replay", help="the program that replays traces")
    parser.add_argument("--faults", type=float, default=1e-4, help="chance of a fault in an operation")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="a sanitizer keeps memory: do not look at it")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    a = parser.parse_args(sys.argv[1:at])
    a.flags = sys.argv[at + 1:]
    Soak(a).run()


if __name__ == "__main__":
    main()
