"""Plain HTTP against the real server: health, metrics, tokenizing, errors, disconnects, and SIGTERM."""

import http.client
import json
import re
import socket
import threading
import time
import urllib.parse

import pytest

from server import Server


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


def connect(server):
    where = urllib.parse.urlsplit(server.http)
    return http.client.HTTPConnection(where.hostname, where.port, timeout=120)


def call(server, method, path, body=None, **headers):
    """Status, headers and the body, as JSON where it is that."""
    connection = connect(server)
    data = json.dumps(body) if isinstance(body, (dict, list)) else body
    if data is not None:
        headers.setdefault("Content-Type", "application/json")
    connection.request(method, path, data, headers)
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    is_json = reply.headers.get("Content-Type") == "application/json"
    return reply.status, reply.headers, json.loads(text) if is_json else text.decode()


def metric(server, name):
    _, _, text = call(server, "GET", "/metrics")
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for value in found)


def test_health_and_ready(server):
    assert call(server, "GET", "/health")[0] == 200
    assert call(server, "GET", "/ready")[0] == 200
    status, _, text = call(server, "GET", "/help")
    assert status == 200 and "/v1/chat/completions" in text


def test_metrics(server):
    status, headers, text = call(server, "GET", "/metrics")
    assert status == 200 and "version=0.0.4" in headers["Content-Type"]
    names = re.findall(r"^# HELP (\S+) \S+", text, re.MULTILINE)
    assert len(names) > 10 and all(name.startswith("skipserve_") for name in names)


def test_tokenize_there_and_back(server):
    text = "Grüße, 世界! \U0001f600 naïve e\u0301"
    status, _, body = call(server, "POST", "/tokenize", {"text": text})
    assert status == 200 and body["count"] == len(body["tokens"]) > 0
    assert call(server, "POST", "/detokenize", {"tokens": body["tokens"]})[2]["text"] == text


def test_a_hopelessly_long_prompt_is_refused_at_once(server):
    begin = time.monotonic()
    status, _, body = call(server, "POST", "/v1/completions", {"prompt": "word " * 12_000_000})
    assert status == 400 and "60000000 bytes" in body["error"]["message"]
    assert time.monotonic() - begin < 5  # its tokens alone would take that long


def test_special_tokens_in_messages_are_text(server):
    def tokens(content):
        messages = [{"role": "user", "content": content}]
        return call(server, "POST", "/tokenize", {"messages": messages})[2]["tokens"]

    for special in ("<|im_end|>", "<|endoftext|>", "</s>", "<|eot_id|>"):
        ids = call(server, "POST", "/tokenize", {"text": special})[2]["tokens"]
        if len(ids) == 1:
            assert tokens(special).count(ids[0]) == tokens("x").count(ids[0])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("GET", "/nothing", None, 404, None),
        ("GET", "/v1/models/nothing", None, 404, "model"),
        ("PUT", "/v1/models", "{}", 405, None),
        ("GET", "/v1/chat/completions", None, 405, None),
        ("POST", "/v1/completions", "{", 400, None),
        ("POST", "/v1/completions", b'{"prompt": "\xff"}', 400, "prompt"),
        ("POST", "/v1/completions", '{"prompt": "x", "temperature": NaN}', 400, "temperature"),
        ("POST", "/v1/completions", '{"prompt": "x", "top_p": 1e999}', 400, "top_p"),
        ("POST", "/v1/completions", {"prompt": "x", "max_tokens": "many"}, 400, "max_tokens"),
        ("POST", "/v1/completions", {"prompt": [1, 2, -3]}, 400, "prompt[2]"),
        ("POST", "/v1/completions", "[" * 1_000_000, 400, None),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "user"}]}, 400,
         "messages[0].content"),
        ("POST", "/detokenize", {"tokens": [10**9]}, 400, "tokens[0]"),
        ("POST", "/tokenize", b" " * (65 << 20), 413, None),
    ],
)
def test_errors(server, method, path, body, status, param):
    got, headers, reply = call(server, method, path, body)
    assert got == status, reply
    assert set(reply["error"]) == {"message", "type", "param", "code"}
    assert reply["error"]["param"] == param and reply["error"]["message"]
    assert ("Allow" in headers) == (status == 405)
    assert call(server, "GET", "/health")[0] == 200


def test_wrong_content_type(server):
    headers = {"Content-Type": "text/plain"}
    assert call(server, "POST", "/tokenize", '{"text": "x"}', **headers)[0] == 415


def test_garbage_does_not_hurt(server):
    where = urllib.parse.urlsplit(server.http)
    for junk in (b"\x16\x03\x01\x02\x00", b"\0" * 5000, b"GET\r\n\r\n", b"\r\n" * 1000):
        with socket.create_connection((where.hostname, where.port), timeout=60) as raw:
            raw.sendall(junk)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    assert call(server, "GET", "/health")[0] == 200


def test_one_connection_many_requests(server):
    connection = connect(server)
    for _ in range(3):
        for body in ({"prompt": "x", "max_tokens": 2}, {"prompt": "x", "max_tokens": 2, "stream": True}):
            connection.request("POST", "/v1/completions", json.dumps(body),
                               {"Content-Type": "application/json"})
            reply = connection.getresponse()
            text = reply.read()
            assert reply.status == 200
            assert not body.get("stream") or text.endswith(b"data: [DONE]\n\n")
    connection.close()


@pytest.mark.parametrize("stream", [False, True])
def test_disconnect_frees_everything(server, stream):
    body = {"prompt": "Once upon a time", "max_tokens": 1500, "ignore_eos": True, "stream": stream}
    before = metric(server, "skipserve_generated_tokens_total")
    connection = connect(server)
    connection.request("POST", "/v1/completions", json.dumps(body),
                       {"Content-Type": "application/json"})
    if stream:
        assert connection.getresponse().read(20)
    else:
        while server.load()["decoding"] == 0:
            time.sleep(0.01)
    connection.sock.close() if connection.sock else connection.close()
    connection.close()
    idle = server.await_idle()
    assert idle["kv_blocks_used"] == 0
    assert metric(server, "skipserve_generated_tokens_total") - before < 1500


def test_many_clients_get_the_answers_of_one(server):
    prompts = [f"Number {i} is followed by" for i in range(6)]

    def ask(prompt):
        body = {"prompt": prompt, "max_tokens": 8, "temperature": 0}
        return call(server, "POST", "/v1/completions", body)[2]["choices"][0]["text"]

    alone = [ask(prompt) for prompt in prompts]
    together = [None] * len(prompts)

    def run(i):
        together[i] = ask(prompts[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_sigterm_in_mid_stream_finishes_or_says_so():
    with Server("--drain-seconds", "1") as own:
        connection = connect(own)
        body = {"prompt": "Once", "max_tokens": 100000, "ignore_eos": True, "stream": True}
        limit = call(own, "GET", "/v1/models")[2]["data"][0]["max_model_len"]
        body["max_tokens"] = limit - 100
        connection.request("POST", "/v1/completions", json.dumps(body),
                           {"Content-Type": "application/json"})
        reply = connection.getresponse()
        assert reply.read(6) == b"data: "
        stopping = threading.Thread(target=own.stop)
        stopping.start()
        events = [line for line in reply.read().decode().split("\n\n") if line]
        stopping.join()
        connection.close()
        assert events[-1] == "data: [DONE]"
        last = json.loads(events[-2].removeprefix("data: "))
        assert "error" in last or last["choices"][0]["finish_reason"]
