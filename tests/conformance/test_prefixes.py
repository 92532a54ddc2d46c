"""A document read ahead of its questions: what is found of it, that no answer changes, and who may find it."""

import http.client
import json
import pathlib
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from server import Server

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = pathlib.Path("/usr/share/common-licenses/GPL-3").read_text()
SHORT = DOCUMENT[:8000]  # some 1,800 tokens: long enough to be skipped in
BLOCK = 32  # tokens
QUESTIONS = ("\n\nWho may copy this document?", "\n\nWhat does the word covered mean here?")


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def without():
    with Server("--no-prefix-cache") as running:
        yield running


def call(server, method, path, body=None):
    """Status and JSON body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.http + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=300) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def user(content):
    return [{"role": "user", "content": content}]


def read(server, name, document=SHORT, **more):
    status, prefix = call(server, "POST", "/v1/prefixes", {"name": name, "messages": user(document), **more})
    assert status == 201, prefix
    return prefix


def ask(server, question, document=SHORT, **more):
    """The answer, and how many of the prompt's tokens were found in the cache."""
    body = {"messages": user(document + question), "max_tokens": 16, "temperature": 0, **more}
    status, answer = call(server, "POST", "/v1/chat/completions", body)
    assert status == 200, answer
    return answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def metric(server, name):
    with urllib.request.urlopen(server.http + "/metrics", timeout=60) as reply:
        return float(re.search(rf"^{name} (\S+)$", reply.read().decode(), re.MULTILINE).group(1))


@pytest.mark.parametrize(("document", "skip", "reading"),
                         [(DOCUMENT, "gentle", "gentle"), (SHORT, "off", "off"), (DOCUMENT, "auto", "off")])
def test_answers_are_those_without_a_cache(server, without, document, skip, reading):
    """In mode auto a document that is cached is read densely: that is the shorter way, and exact."""
    prefix = read(server, "law", document, skip=skip)
    assert set(prefix) == {"object", "name", "tokens", "kv_blocks", "trunk_layers", "skip_level", "created"}
    assert prefix["tokens"] % BLOCK == 0 and prefix["kv_blocks"] > 0
    assert prefix["skip_level"] == reading
    before = metric(server, "skipserve_prompt_cached_tokens_total")
    for question in QUESTIONS:
        answer, cached = ask(server, question, document, skip=skip)
        # Where the question changes the document's last word, the block with that word is not found.
        assert prefix["tokens"] - BLOCK <= cached <= prefix["tokens"]
        assert (answer, 0) == ask(without, question, document, skip=reading)
    assert metric(server, "skipserve_prompt_cached_tokens_total") - before >= 2 * (prefix["tokens"] - BLOCK)
    assert call(server, "DELETE", "/v1/prefixes/law")[0] == 200


def test_what_is_kept_is_all_that_questions_share(server):
    def tokens(content):
        return call(server, "POST", "/tokenize", {"messages": user(content)})[1]["tokens"]

    first, second = (tokens(SHORT + question) for question in ("\n\nWho?", "Why?"))
    shared = next(i for i, (a, b) in enumerate(zip(first, second)) if a != b)
    assert abs(read(server, "shared")["tokens"] - shared // BLOCK * BLOCK) <= BLOCK
    assert call(server, "DELETE", "/v1/prefixes/shared")[0] == 200


def test_listed_and_dropped(server):
    prefix = read(server, "a b/c")
    path = "/v1/prefixes/" + urllib.parse.quote("a b/c", safe="")
    assert call(server, "GET", path) == (200, prefix)
    assert call(server, "GET", "/v1/prefixes") == (200, {"object": "list", "data": [prefix]})
    assert server.load()["prefixes"] == 1 and metric(server, "skipserve_prefixes") == 1
    status, error = call(server, "POST", "/v1/prefixes", {"name": "a b/c", "messages": user(SHORT)})
    assert status == 409 and "a b/c" in error["error"]["message"]
    held = server.load()["kv_blocks_used"]
    assert call(server, "DELETE", path) == (200, {"object": "prefix", "name": "a b/c", "deleted": True})
    load = server.load()
    assert load["prefixes"] == 0 and held - load["kv_blocks_used"] == prefix["kv_blocks"]
    for method in ("GET", "DELETE"):
        status, error = call(server, method, path)
        assert status == 404 and error["error"]["type"] == "not_found_error"


def test_salts_keep_clients_apart(server):
    prefix = read(server, "salted", cache_salt="one")
    assert ask(server, QUESTIONS[0], cache_salt="one")[1] >= prefix["tokens"] - BLOCK
    other = DOCUMENT[100:8100]  # that nobody has asked about
    read(server, "other", other, cache_salt="one")
    assert ask(server, QUESTIONS[0], other)[1] == 0
    assert ask(server, QUESTIONS[0], other, cache_salt="two")[1] == 0
    for name in ("salted", "other"):
        assert call(server, "DELETE", "/v1/prefixes/" + name)[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"name": "n", "prompt": "Too short."}, 400, None),
        ({"name": "n"}, 400, "prompt"),
        ({"prompt": SHORT}, 400, "name"),
        ({"name": "n", "prompt": SHORT, "cache_salt": "s" * 129}, 400, "cache_salt"),
        ({"name": "n", "prompt": DOCUMENT * 9}, 400, "prompt"),
        ({"name": "n", "prompt": SHORT, "model": "another"}, 404, "model"),
    ],
)
def test_errors(server, body, status, param):
    got, reply = call(server, "POST", "/v1/prefixes", body)
    assert got == status, reply
    assert reply["error"]["param"] == param and reply["error"]["message"]
    assert call(server, "GET", "/v1/prefixes")[1]["data"] == []


def test_without_a_cache_the_message_names_the_flag(without):
    status, reply = call(without, "POST", "/v1/prefixes", {"name": "n", "messages": user(SHORT)})
    assert status == 400 and "--no-prefix-cache" in reply["error"]["message"]


def test_who_leaves_cancels_the_reading(server):
    where = urllib.parse.urlsplit(server.http)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    body = {"name": "left", "messages": user(DOCUMENT[200:]), "skip": "off"}
    connection.request("POST", "/v1/prefixes", json.dumps(body), {"Content-Type": "application/json"})
    while server.load()["prefilling"] == 0:
        time.sleep(0.01)
    connection.close()
    assert server.await_idle()["kv_blocks_used"] == 0
    assert call(server, "GET", "/v1/prefixes")[1]["data"] == []


def test_the_readmes_commands_run_as_written(server):
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    command = next(block for block in blocks if "/v1/prefixes" in block)
    assert "http://127.0.0.1:8080/" in command
    command = command.replace("http://127.0.0.1:8080", server.http).replace("curl ", "curl -sS -w '\\n' ")
    done = subprocess.run(["sh", "-ec", command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    replies = [json.loads(line) for line in done.stdout.split("\n") if line]
    prefix, answer, dropped = replies
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] >= prefix["tokens"] - BLOCK
    assert dropped["deleted"]
