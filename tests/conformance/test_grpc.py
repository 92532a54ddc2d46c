#!/usr/bin/env python3
"""Python's gRPC client against a real server on a real model: what a user of the contract meets.

Starts the server itself. SKIPSERVE_BINARY is the program, SKIPSERVE_TEST_MODEL a model with a chat template.
"""
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from server import Server, binary, model

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "proto"))
pb, pb_grpc = grpc.protos_and_services("skipserve/v1/skipserve.proto")
CALL_SECONDS = 300


def channel_to(server, **options):
    return grpc.insecure_channel(server.grpc, options=[
        ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), *options.items()])


def chat(text, **fields):
    request = pb.GenerateRequest(chat=pb.Chat(messages=[pb.ChatMessage(role="user", content=text)]), **fields)
    if not request.HasField("sampling"):
        request.sampling.temperature = 0
    return request


def text_of(messages, choice=0):
    text = ""
    for message in messages:
        event = getattr(message, message.WhichOneof("event"))
        if event.choice == choice:
            text += event.text
    return text


class GrpcConformance(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server())
        cls.channel = cls.enterClassContext(channel_to(cls.server))
        cls.stub = pb_grpc.SkipServeStub(cls.channel)
        cls.info = cls.stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=30)

    def generate(self, request, timeout=CALL_SECONDS):
        return list(self.stub.Generate(request, timeout=timeout))

    def refused(self, code, request, *words):
        with self.assertRaises(grpc.RpcError) as caught:
            self.generate(request)
        self.assertEqual(caught.exception.code(), code)
        for word in words:
            self.assertIn(word, caught.exception.details())

    def test_bytes_that_are_no_message_are_refused_with_a_reason(self):
        for name in ("Generate", "Tokenize", "Detokenize", "ReadPrefix", "DropPrefix"):
            path = f"/skipserve.v1.SkipServe/{name}"
            make = self.channel.unary_stream if name == "Generate" else self.channel.unary_unary
            with self.assertRaises(grpc.RpcError) as caught:
                reply = make(path)(b"\x0a\x7fa", timeout=30)
                list(reply)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn(f"skipserve.v1.{name}Request", caught.exception.details())

    def test_model_info(self):
        self.assertGreater(self.info.layers, 0)
        self.assertGreater(self.info.vocab_size, 0)
        self.assertEqual(len(self.info.fingerprint), 64)
        self.assertTrue(self.info.served_name)

    def test_levels_say_what_they_save_and_cost(self):
        for level in self.info.skip_levels:
            self.assertRegex(level.policy_fingerprint, "^[0-9a-f]{16}$")
            self.assertGreater(len(level.policy.stage_ends), 0)
            lengths = [bound.prompt_tokens for bound in level.bounds]
            self.assertEqual(lengths, sorted(set(lengths)))
            self.assertEqual(lengths[-1], self.info.max_context)
            self.assertGreaterEqual(level.bounds[-1].flop_bound, 1)
            self.assertEqual(level.HasField("figures"), len(level.figures.lengths) > 0)
        self.assertEqual(len({level.policy_fingerprint for level in self.info.skip_levels}), len(self.info.skip_levels))

    def test_a_level_is_reported_by_the_fingerprint_that_the_model_info_has(self):
        for level in self.info.skip_levels[:1]:
            request = pb.GenerateRequest(text="word " * 200, stop=pb.StopRules(max_tokens=1),
                                         skip=pb.Skip(level=level.name))
            skip = self.generate(request)[-1].finish.skip
            self.assertEqual((skip.level, skip.policy_fingerprint), (level.name, level.policy_fingerprint))
            self.assertEqual(skip.HasField("expected_kl"), level.HasField("figures"))
            self.assertEqual(skip.HasField("expected_agreement"), level.HasField("figures"))

    def test_health_and_reflection(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        for service in ("", "skipserve.v1.SkipServe"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
            self.assertEqual(reply.status, health_pb2.HealthCheckResponse.SERVING)
        reflected = ProtoReflectionDescriptorDatabase(self.channel)
        self.assertIn("skipserve.v1.SkipServe", reflected.get_services())
        file = reflected.FindFileContainingSymbol("skipserve.v1.SkipServe")
        self.assertEqual([m.name for m in file.service[0].method],
                         ["Generate", "Tokenize", "Detokenize", "GetModelInfo", "GetLoad", "ReadPrefix",
                          "ListPrefixes", "DropPrefix"])

    def test_streams_and_ends_with_one_finish(self):
        messages = self.generate(chat("Say hello.", stop=pb.StopRules(max_tokens=12)))
        self.assertEqual([m.WhichOneof("event") for m in messages].count("finish"), 1)
        finish = messages[-1].finish
        ids = [i for m in messages for i in m.chunk.token_ids]
        self.assertEqual(finish.usage.completion_tokens, len(ids))
        self.assertGreater(finish.usage.prompt_tokens, 3)
        self.assertIn(finish.reason, (pb.Finish.REASON_STOP, pb.Finish.REASON_LENGTH))
        self.assertGreater(finish.timings.ttft_seconds, 0)
        self.assertGreaterEqual(finish.timings.total_seconds, finish.timings.ttft_seconds)
        self.assertEqual(len({m.request_id for m in messages}), 1)

    def test_greedy_answers_repeat_and_choices_agree(self):
        request = chat("Count to five.", stop=pb.StopRules(max_tokens=10), n=3)
        first, second = self.generate(request), self.generate(request)
        self.assertEqual(text_of(first), text_of(second))
        self.assertEqual(text_of(first, 0), text_of(first, 2))
        self.assertEqual(sum(m.HasField("finish") for m in first), 3)

    def test_a_seed_decides_a_draw(self):
        def draw(seed):
            return text_of(self.generate(chat("Tell me something.", stop=pb.StopRules(max_tokens=16, ignore_eos=True),
                                              sampling=pb.Sampling(temperature=1, seed=seed))))
        self.assertEqual(draw(1), draw(1))
        self.assertGreater(len({draw(seed) for seed in range(2, 7)}), 1)

    def test_prompts_in_three_forms_are_one(self):
        text = "The capital of France is"
        ids = self.stub.Tokenize(pb.TokenizeRequest(text=text)).token_ids
        stop, sampling = pb.StopRules(max_tokens=6, ignore_eos=True), pb.Sampling(temperature=0)
        by_text = self.generate(pb.GenerateRequest(text=text, stop=stop, sampling=sampling))
        by_ids = self.generate(pb.GenerateRequest(token_ids=pb.TokenIds(ids=ids), stop=stop, sampling=sampling))
        self.assertEqual(text_of(by_text), text_of(by_ids))

    def test_tokenize_and_back(self):
        text = "Grüße, 世界! 👋🏽"
        response = self.stub.Tokenize(pb.TokenizeRequest(text=text, plain=True))
        self.assertEqual(b"".join(response.token_bytes).decode(), text)
        back = self.stub.Detokenize(pb.DetokenizeRequest(token_ids=response.token_ids))
        self.assertEqual(back.text, text)

    def test_logprobs(self):
        messages = self.generate(chat("Hi", stop=pb.StopRules(max_tokens=4), logprobs=5))
        for message in messages[:-1]:
            chunk = message.chunk
            self.assertEqual(len(chunk.logprobs), len(chunk.token_ids))
            for token, logprobs in zip(chunk.token_ids, chunk.logprobs):
                self.assertEqual(len(logprobs.top), 5)
                self.assertLessEqual(logprobs.logprob, 0)
                self.assertEqual(logprobs.top[0].id, token)  # greedy

    def test_max_tokens_and_stop_strings(self):
        request = pb.GenerateRequest(text="one two three four", sampling=pb.Sampling(temperature=0),
                                     stop=pb.StopRules(max_tokens=24, ignore_eos=True))
        whole = self.generate(request)
        self.assertEqual(whole[-1].finish.reason, pb.Finish.REASON_LENGTH)
        self.assertEqual(whole[-1].finish.usage.completion_tokens, 24)
        text = text_of(whole)
        middle = text[len(text) // 2:len(text) // 2 + 3]
        request.stop.strings.append(middle)
        stopped = self.generate(request)
        self.assertEqual(text_of(stopped), text[:text.index(middle)])
        self.assertEqual(stopped[-1].finish.reason, pb.Finish.REASON_STOP)

    def test_skipping_is_off_when_told_and_reported_by_layer(self):
        request = pb.GenerateRequest(text="word " * 200, stop=pb.StopRules(max_tokens=2),
                                     skip=pb.Skip(mode=pb.Skip.MODE_OFF), report=pb.ReportOptions(layers=True))
        finish = self.generate(request)[-1].finish
        self.assertEqual(finish.skip.level, "off")
        self.assertEqual(finish.skip.skip_ratio, 0)
        self.assertEqual(finish.skip.policy_fingerprint, "")
        self.assertTrue(finish.skip.HasField("expected_kl") and finish.skip.HasField("expected_agreement"))
        self.assertEqual((finish.skip.expected_kl, finish.skip.expected_agreement), (0, 1))
        self.assertEqual(len(finish.skip.layers), self.info.layers)
        for layer in finish.skip.layers:
            self.assertEqual(layer.kv, finish.usage.prompt_tokens)

    def test_a_policy_skips_and_says_so(self):
        layers = self.info.layers
        start = layers // 2
        policy = pb.SkipPolicy(start=start, stage_ends=[layers - 1], budgets=[0.5], keeps=[0.5], sink=1, recent=1)
        request = pb.GenerateRequest(text="word " * 200, stop=pb.StopRules(max_tokens=2), skip=pb.Skip(policy=policy),
                                     report=pb.ReportOptions(layers=True, rows=True))
        finish = self.generate(request)[-1].finish
        self.assertEqual(finish.skip.level, "custom")
        self.assertGreater(finish.skip.skip_ratio, 0)
        self.assertGreater(finish.skip.flop_bound, 1)
        self.assertRegex(finish.skip.policy_fingerprint, "^[0-9a-f]{16}$")
        self.assertFalse(finish.skip.HasField("expected_kl") or finish.skip.HasField("expected_agreement"))
        prompt = finish.usage.prompt_tokens
        self.assertEqual(finish.skip.layers[start - 1].attention if start else prompt, prompt)
        self.assertLess(finish.skip.layers[start].attention, prompt)
        rows = list(finish.skip.rows[start].attention)
        self.assertEqual(rows, sorted(set(rows)))
        self.assertEqual(len(rows), finish.skip.layers[start].attention)
        self.assertEqual(sum(layer.kv for layer in finish.skip.layers), finish.skip.kv_token_layers)

    def test_bad_fields_are_named(self):
        code = grpc.StatusCode.INVALID_ARGUMENT
        self.refused(code, pb.GenerateRequest(), "prompt")
        self.refused(code, chat("x", sampling=pb.Sampling(temperature=float("nan"))), "sampling.temperature")
        self.refused(code, chat("x", sampling=pb.Sampling(top_p=2)), "sampling.top_p")
        self.refused(code, chat("x", logprobs=21), "logprobs")
        self.refused(code, chat("x", n=1000), "n ")
        self.refused(code, chat("x", skip=pb.Skip(level="no such level")), "skip.level")
        self.refused(code, pb.GenerateRequest(token_ids=pb.TokenIds(ids=[10**9])), "token_ids.ids")
        self.refused(grpc.StatusCode.NOT_FOUND, chat("x", model="another"), self.info.served_name)

    def test_too_long_is_refused_with_the_numbers(self):
        ids = [5] * (self.info.max_context + 7)
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, pb.GenerateRequest(token_ids=pb.TokenIds(ids=ids)),
                     str(len(ids)), str(self.info.max_context))

    def test_cancelled_calls_leave_nothing_behind(self):
        room = self.info.max_context - 50
        call = self.stub.Generate(pb.GenerateRequest(text="Once", stop=pb.StopRules(max_tokens=room, ignore_eos=True)))
        next(call)
        call.cancel()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            load = self.stub.GetLoad(pb.GetLoadRequest(), timeout=30)
            if load.waiting + load.prefilling + load.decoding + load.kv_blocks_used == 0:
                return
            time.sleep(0.02)
        self.fail(f"still busy: {load}")

    def test_a_deadline_ends_the_call(self):
        room = self.info.max_context - 50
        request = pb.GenerateRequest(text="Once", stop=pb.StopRules(max_tokens=room, ignore_eos=True), n=64)
        with self.assertRaises(grpc.RpcError) as caught:
            self.generate(request, timeout=0.05)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)

    def test_a_prefix_is_read_found_and_dropped(self):
        text = "Whoever reads this twice knows it by heart. " * 40
        request = pb.ReadPrefixRequest(name="verse", text=text, skip=pb.Skip(mode=pb.Skip.MODE_OFF), cache_salt="s")
        prefix = self.stub.ReadPrefix(request, timeout=CALL_SECONDS).prefix
        self.assertEqual((prefix.name, prefix.skip_level), ("verse", "off"))
        self.assertEqual(prefix.trunk_layers, self.info.layers)
        self.assertEqual(list(self.stub.ListPrefixes(pb.ListPrefixesRequest(), timeout=30).prefixes), [prefix])
        self.assertEqual(self.stub.GetLoad(pb.GetLoadRequest(), timeout=30).prefixes, 1)

        def cached(salt):
            question = pb.GenerateRequest(text=text + "What", stop=pb.StopRules(max_tokens=1),
                                          skip=pb.Skip(mode=pb.Skip.MODE_OFF), cache_salt=salt)
            return self.generate(question)[-1].finish.usage.cached_tokens

        self.assertGreaterEqual(cached("s"), prefix.tokens - 32)
        self.assertEqual(cached("other"), 0)

        def code(rpc, message):
            with self.assertRaises(grpc.RpcError) as caught:
                rpc(message, timeout=CALL_SECONDS)
            return caught.exception.code()

        self.assertEqual(code(self.stub.ReadPrefix, request), grpc.StatusCode.ALREADY_EXISTS)
        request.name, request.cache_salt = "other", "s" * 129
        self.assertEqual(code(self.stub.ReadPrefix, request), grpc.StatusCode.INVALID_ARGUMENT)
        drop = pb.DropPrefixRequest(name="verse")
        self.stub.DropPrefix(drop, timeout=30)
        self.assertEqual(code(self.stub.DropPrefix, drop), grpc.StatusCode.NOT_FOUND)

    def test_pings_through_silence_do_not_cut_the_connection(self):
        options = {"grpc.keepalive_time_ms": 1000, "grpc.keepalive_timeout_ms": 20000,
                   "grpc.keepalive_permit_without_calls": 1, "grpc.http2.max_pings_without_data": 0}
        with channel_to(self.server, **options) as channel:
            stub = pb_grpc.SkipServeStub(channel)
            stub.GetLoad(pb.GetLoadRequest(), timeout=30)
            time.sleep(4)
            stub.GetLoad(pb.GetLoadRequest(), timeout=30)

    def test_clients_side_by_side_get_what_each_gets_alone(self):
        requests = [chat(f"Name {i} animals.", stop=pb.StopRules(max_tokens=8)) for i in range(1, 7)]
        alone = [text_of(self.generate(request)) for request in requests]
        together = [None] * len(requests)

        def run(i):
            together[i] = text_of(self.generate(requests[i]))
        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(requests))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(alone, together)


def blocks_sigterm(pid):
    """Whether the process waits for SIGTERM rather than dies of it."""
    mask = re.search(r"SigBlk:\s*(\w+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)
    return int(mask, 16) >> (signal.SIGTERM - 1) & 1


class Shutdown(unittest.TestCase):
    """Each waits for the end that its one signal brings; a second signal would end the server at once."""

    def test_sigterm_before_readiness_is_a_clean_end(self):
        command = [binary(), "serve", model(), "--http-port=0", "--grpc-port=0"]
        for delay in (0, 0.2, 0.4, 0.6):  # around what this model takes to load
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not blocks_sigterm(process.pid):
                time.sleep(0.001)
            time.sleep(delay)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), 0, f"after {delay} s")

    def test_sigterm_at_readiness_is_a_clean_end(self):
        command = [binary(), "serve", model(), "--http-port=0", "--grpc-port=0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.assertIn(b"is ready", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), 0)
        process.stdout.close()

    def test_a_watcher_of_the_health_holds_nothing_up(self):
        with Server("--stop-seconds=30") as server, channel_to(server) as channel:
            health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            self.assertEqual(next(health).status, health_pb2.HealthCheckResponse.SERVING)
            begin = time.monotonic()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.monotonic() - begin, 10)

    def test_sigterm_lets_a_stream_end_and_refuses_new_work(self):
        with Server("--drain-seconds=120") as server, channel_to(server) as channel:
            stub = pb_grpc.SkipServeStub(channel)
            health = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service="skipserve.v1.SkipServe"))
            self.assertEqual(next(health).status, health_pb2.HealthCheckResponse.SERVING)
            call = stub.Generate(pb.GenerateRequest(text="Once", stop=pb.StopRules(max_tokens=200, ignore_eos=True)))
            next(call)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(next(health).status, health_pb2.HealthCheckResponse.NOT_SERVING)
            while not stub.GetLoad(pb.GetLoadRequest(), timeout=30).draining:
                time.sleep(0.005)
            with self.assertRaises(grpc.RpcError) as refused:
                list(stub.Generate(pb.GenerateRequest(text="x", stop=pb.StopRules(max_tokens=1)), timeout=30))
            self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAVAILABLE)
            self.assertEqual(list(call)[-1].finish.usage.completion_tokens, 200)
            health.cancel()
            self.assertEqual(server.process.wait(60), 0)

    def test_what_outlives_the_grace_ends_unavailable(self):
        with Server("--drain-seconds=0.1") as server, channel_to(server) as channel:
            stub = pb_grpc.SkipServeStub(channel)
            room = stub.GetModelInfo(pb.GetModelInfoRequest()).max_context - 50
            call = stub.Generate(pb.GenerateRequest(text="Once", stop=pb.StopRules(max_tokens=room, ignore_eos=True)))
            next(call)
            server.process.send_signal(signal.SIGTERM)
            with self.assertRaises(grpc.RpcError) as caught:
                list(call)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
            self.assertEqual(server.process.wait(60), 0)

    def test_a_second_signal_ends_it_at_once(self):
        server = Server("--drain-seconds=600").__enter__()
        with channel_to(server) as channel:
            stub = pb_grpc.SkipServeStub(channel)
            room = stub.GetModelInfo(pb.GetModelInfoRequest()).max_context - 50
            call = stub.Generate(pb.GenerateRequest(text="Once", stop=pb.StopRules(max_tokens=room, ignore_eos=True)))
            next(call)
            server.process.send_signal(signal.SIGTERM)
            while not stub.GetLoad(pb.GetLoadRequest(), timeout=30).draining:
                time.sleep(0.005)
            self.assertEqual(server.stop(), 128 + signal.SIGTERM)

    def test_a_taken_port_is_one_clear_line(self):
        with Server() as server:
            port = server.grpc.rsplit(":", 1)[1]
            second = subprocess.run([binary(), "serve", model(), "--http-port=0", f"--grpc-port={port}"],
                                    capture_output=True, text=True, timeout=120)
        self.assertEqual(second.returncode, 1)
        self.assertEqual([port in line for line in second.stderr.splitlines()], [True], second.stderr)

    def test_a_wrong_command_line_is_exit_code_2(self):
        for args in (["serve"], ["serve", "x", "--nonsense"], ["dance"], []):
            done = subprocess.run([binary(), *args], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 2, args)
        missing = subprocess.run([binary(), "serve", "/no/such.gguf"], capture_output=True, text=True, timeout=60)
        self.assertEqual(missing.returncode, 1)
        self.assertIn("/no/such.gguf", missing.stderr)
        self.assertEqual(len(missing.stderr.splitlines()), 1, missing.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
