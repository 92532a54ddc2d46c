"""Clients of every temper. Each behaviour asks once and returns what became of it; Wrong says that it must not have."""
import http.client
import json
import os
import pathlib
import random
import socket
import struct
import sys
import time

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # lost connections are expected
import grpc  # noqa: E402

from questions import essence, request  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "proto"))
pb, pb_grpc = grpc.protos_and_services("skipserve/v1/skipserve.proto")

INJECTED = ("injected", "ran out of memory")
FULL = ("queue full", "never fits")
STOPPING = "shutting down"
FINISH = {pb.Finish.REASON_STOP: "stop", pb.Finish.REASON_LENGTH: "length"}


class Wrong(Exception):
    pass


class Client:
    """One that asks at random. `stopping()`: the server was told to go, so refusals and lost connections are right."""

    def __init__(self, server, questions, expected, seed, stopping):
        self.server, self.questions, self.expected = server, questions, expected
        self.dice = random.Random(seed)
        self.name = f"client{seed % 5}"
        self.stopping = stopping
        self.channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc}", options=[("grpc.use_local_subchannel_pool", 1)])
        self.stub = pb_grpc.SkipServeStub(self.channel)

    BEHAVIOURS = (("whole", 18), ("stream", 22), ("hang_up", 14), ("slow", 4), ("grpc", 14), ("grpc_cancel", 9), ("grpc_deadline", 7),
                  ("twice", 3), ("prefix", 4), ("garbage", 7), ("bad_request", 5), ("look", 4))

    def act(self):
        names, weights = zip(*self.BEHAVIOURS)
        name = self.dice.choices(names, weights)[0]
        i = self.dice.randrange(len(self.questions))
        try:
            return name, getattr(self, name)(i)
        except (OSError, http.client.HTTPException) as error:
            if self.stopping():
                return name, "gone"
            raise Wrong(f"{name}: {error!r}") from error
        except Wrong as error:
            raise Wrong(f"{name}, question {i}: {error}") from error

    def close(self):
        self.channel.close()

    # --- what may become of a request

    def compare(self, got, i):
        want = self.expected[i]
        if got != want:
            raise Wrong(f"answers {got}, a quiet server {want}")
        return "ok"

    def failed(self, code, message):
        """Of a request that was right: only what was injected, a full queue, or the server's end."""
        if any(word in message for word in INJECTED):
            return "injected"
        if any(word in message for word in FULL):
            return "full"
        if self.stopping() and (STOPPING in message or code in ("UNAVAILABLE", "CANCELLED", 503)):
            return "stopping"
        raise Wrong(f"fails with {code}: {message}")

    def body(self, i, **more):
        return {**self.questions[i], "user": self.name, "priority": self.dice.choice((-1, 0, 0, 0, 1)), **more}

    def refused(self, status, headers, text):
        error = json.loads(text)["error"]
        if status == 429 and not headers.get("Retry-After", "").isdigit():
            raise Wrong("429 without Retry-After")
        return self.failed(status, error["message"])

    # --- HTTP

    def whole(self, i):
        status, headers, text = request(self.server.http, "POST", "/v1/completions", self.body(i))
        return self.compare(essence(json.loads(text)), i) if status == 200 else self.refused(status, headers, text)

    def events(self, i, **socket_options):
        """Yields the connection, then each event of a stream; the refusal of one that did not begin as its only value."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http, timeout=600)
        connection.connect()
        for option, value in socket_options.items():
            connection.sock.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
        body = self.body(i, stream=True, stream_options={"include_usage": True})
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        yield connection
        response = connection.getresponse()
        if response.status != 200:
            yield {"refused": (response.status, response.headers, response.read())}
            return
        for line in response:
            if line.startswith(b"data: "):
                yield {"done": True} if line.strip() == b"data: [DONE]" else json.loads(line[6:])

    def stream(self, i, pause=lambda: None, **socket_options):
        events = self.events(i, **socket_options)
        connection = next(events)
        text, last, finish = "", None, None
        try:
            for event in events:
                pause()
                if "refused" in event:
                    return self.refused(*event["refused"])
                if "error" in event:
                    if not self.expected[i]["text"].startswith(text):
                        raise Wrong(f"began with {text!r} and failed")
                    return self.failed("an error event", event["error"]["message"])
                if "done" in event:
                    if last is None:
                        raise Wrong("a stream without its report")
                    got = {"text": text, "finish_reason": finish, "tokens": last["usage"]["completion_tokens"],
                           "level": last["skip"]["level"]}
                    return self.compare(got, i)
                for choice in event["choices"]:
                    text += choice["text"]
                    finish = choice["finish_reason"] or finish
                if event.get("usage"):
                    last = event
            if self.stopping():
                return "cut"
            raise Wrong("the stream ended in the middle")
        finally:
            connection.close()

    def slow(self, i):
        return self.stream(i, lambda: time.sleep(self.dice.random() * 0.05), SO_RCVBUF=2048)

    def hang_up(self, i):
        events = self.events(i)
        connection = next(events)
        if self.dice.random() < 0.4:  # while the prompt is read
            time.sleep(self.dice.random() ** 2 * 0.3)
        else:
            after = self.dice.randrange(8)
            for n, event in enumerate(events):
                if n >= after or "refused" in event or "done" in event:
                    break
        if connection.sock and self.dice.random() < 0.5:  # with a reset
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        return "hung up"

    def twice(self, i):
        """Two answers to one prompt, the first as it is alone."""
        status, headers, text = request(self.server.http, "POST", "/v1/completions", self.body(i, n=2))
        if status != 200:
            return self.refused(status, headers, text)
        reply = json.loads(text)
        first = [c for c in reply["choices"] if c["index"] == 0][0]
        if len(reply["choices"]) != 2 or first["text"] != self.expected[i]["text"]:
            raise Wrong(f"n=2 answers {text[:300]}")
        return "ok"

    def prefix(self, i):
        name = f"p{self.dice.randrange(6)}"
        body = {"name": name, "prompt": self.questions[i]["prompt"], "skip": self.questions[i]["skip"]}
        if self.dice.random() < 0.6:
            status, headers, text = request(self.server.http, "POST", "/v1/prefixes", body)
        else:
            status, headers, text = request(self.server.http, "DELETE", f"/v1/prefixes/{name}")
        if status in (200, 201):
            return "ok"
        message = json.loads(text)["error"]["message"]
        known = {400: "the cache keeps blocks", 404: "no prefix", 409: "there is a prefix"}
        if known.get(status, "-") in message:
            return "refused"
        if status == 429 and "prefix" in message:  # no room to keep it
            return "full"
        return self.failed(status, message)

    # --- gRPC

    def generate(self, i, **options):
        q = self.questions[i]
        sampling = pb.Sampling(temperature=q["temperature"])
        if q["temperature"] > 0:
            sampling.top_p, sampling.seed = q["top_p"], q["seed"]
        skip = pb.Skip(mode=pb.Skip.MODE_OFF) if q["skip"] == "off" else pb.Skip(level=q["skip"])
        stop = pb.StopRules(max_tokens=q["max_tokens"], ignore_eos=q.get("ignore_eos", False), strings=q.get("stop", []))
        return self.stub.Generate(pb.GenerateRequest(text=q["prompt"], sampling=sampling, stop=stop, skip=skip, user=self.name),
                                  **options)

    def read(self, call, i, until=lambda n: False):
        text, last = "", None
        try:
            for n, message in enumerate(call):
                kind = message.WhichOneof("event")
                event = getattr(message, kind)
                text += event.text
                if kind == "finish":
                    last = event
                if until(n):
                    call.cancel()
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return "deadline"
            if error.code() == grpc.StatusCode.CANCELLED and not self.stopping():
                return "cancelled"
            if not self.expected[i]["text"].startswith(text):
                raise Wrong(f"began with {text!r} and failed") from error
            return self.failed(error.code().name, error.details())
        if last is None:
            raise Wrong("no finish event")
        return self.compare({"text": text, "finish_reason": FINISH[last.reason], "tokens": last.usage.completion_tokens,
                             "level": last.skip.level}, i)

    def grpc(self, i):
        outcome = self.read(self.generate(i, timeout=600), i)
        if outcome in ("deadline", "cancelled"):
            raise Wrong(outcome)
        return outcome

    def grpc_cancel(self, i):
        call = self.generate(i, timeout=600)
        after = self.dice.randrange(6)
        if after == 0:  # while the prompt is read
            time.sleep(self.dice.random() ** 2 * 0.3)
            call.cancel()
        outcome = self.read(call, i, lambda n: n >= after)
        if outcome == "deadline":
            raise Wrong(outcome)
        return outcome

    def grpc_deadline(self, i):
        outcome = self.read(self.generate(i, timeout=self.dice.choice((0.001, 0.02, 0.1, 0.5))), i)
        if outcome == "cancelled":
            raise Wrong(outcome)
        return outcome

    # --- what is no request, and who only looks

    def garbage(self, _):
        port = self.dice.choice((self.server.http, self.server.http, self.server.grpc))
        with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
            kind = self.dice.randrange(3)
            if kind == 0:
                s.sendall(self.dice.randbytes(self.dice.randrange(1, 4000)))
            elif kind == 1:
                s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"prompt\": \"half")
            else:
                s.sendall(b"GET /metrics HTTP/1.1\r\nHo")
            if self.dice.random() < 0.5:
                time.sleep(self.dice.random() * 0.2)
        return "sent"

    def bad_request(self, i):
        bodies = ({}, {"prompt": 5}, {**self.questions[i], "max_tokens": -1}, {**self.questions[i], "skip": "nowhere"},
                  {**self.questions[i], "temperature": "hot"}, {**self.questions[i], "model": "another"}, [1, 2], "text")
        status, _, text = request(self.server.http, "POST", "/v1/completions", self.dice.choice(bodies))
        if status not in (400, 404, 422) and not (status == 503 and self.stopping()):
            raise Wrong(f"{status}: {text[:200]}")
        json.loads(text)["error"]["message"]
        return "refused"

    def look(self, _):
        path = self.dice.choice(("/metrics", "/load", "/health", "/v1/models", "/v1/prefixes", "/"))
        status, _, text = request(self.server.http, "GET", path)
        if status != 200 or not text:
            raise Wrong(f"GET {path}: {status}")
        if path == "/load":
            load = json.loads(text)
            if not load["kv_blocks_used"] <= load["kv_blocks_reserved"] <= load["kv_blocks_total"]:
                raise Wrong(f"blocks: {load}")
        return "ok"
