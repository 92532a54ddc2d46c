"""The page at / in a real browser, against the real server and model: asks, and compares what it shows with the API."""

import http.client
import json
import math
import pathlib
import re
import subprocess
import threading
import time
import urllib.parse

import pytest

from browser import Browser
from server import Server, binary, model

LICENSE = pathlib.Path("/usr/share/common-licenses/GPL-3").read_text()
HOSTILE = "</textarea><script>alert(1)</script><img src=x onerror=alert(2)> &amp; Gr\u00fc\u00dfe \U0001f600\n"
QUESTION = "What does the licence say about patents?"


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


def open_page(server, browser, **how):
    page = browser.open(server.http + "/", **how)
    page.wait("document.querySelectorAll('#levels input').length > 2")
    return page


@pytest.fixture()
def page(server, browser):
    page = open_page(server, browser)
    yield page
    page.close()
    assert page.problems == []
    assert {urllib.parse.urlsplit(url)._replace(path="").geturl() for url in page.requests
            if not url.startswith("data:")} == {server.http}


def call(server, path, body=None):
    where = urllib.parse.urlsplit(server.http)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=300)
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None,
                       {"Content-Type": "application/json"})
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    json_reply = json.load(reply)
    connection.close()
    return json_reply


def fill(page, document, question=QUESTION, level="auto", most=24):
    page.run(f"""byId('document').value = {json.dumps(document)};
                 byId('question').value = {json.dumps(question)};
                 byId('question').dispatchEvent(new Event('input'));
                 byId('most').value = {most};
                 document.querySelector('#levels [value={level}]').click()""")


def ask(page, *args, **how):
    fill(page, *args, **how)
    page.run("byId('go').click()")
    page.wait("!running")


def by_api(server, document, level, most=24):
    messages = [{"role": "user", "content": document + "\n\n" + QUESTION}]
    return call(server, "/v1/chat/completions", {
        "messages": messages, "temperature": 0, "max_tokens": most,
        "skip": {"mode" if level == "off" else "level": level, "report": {"layers": True, "rows": True}}})


def shades(answer):
    """The colour classes that the tokens must have: how deep attention computed each, in nine steps."""
    rows, tokens = answer["skip"]["rows"], answer["usage"]["prompt_tokens"]
    depth = [0] * tokens
    for layer in rows:
        for position in layer["attention"]:
            depth[position] += 1
    lowest, layers = min(depth), len(rows)
    if lowest == layers:
        return ["c8"] * tokens
    return ["c" + str(math.floor(8 * (d - lowest) / (layers - lowest) + 0.5)) for d in depth]


SHADES = "spansOf().map(span => span.classList[0])"
SPANS = "var spansOf = () => [...document.querySelectorAll('#text span')]; true"


@pytest.mark.parametrize("level", ["off", "fast"])
def test_it_shows_what_the_api_answers(server, page, level):
    document = LICENSE[:6000] + HOSTILE + LICENSE[6000:8000]
    ask(page, document, level=level)
    answer = by_api(server, document, level)
    assert page.run("byId('wrong').hidden")
    assert page.run("byId('answer').textContent") == answer["choices"][0]["message"]["content"]
    assert page.run("byId('ended').textContent") == "Ended by the limit of new tokens."
    page.run(SPANS)
    assert page.run(SHADES) == shades(answer)
    text = page.run("spansOf().map(span => span.textContent).join('')")
    assert document + "\n\n" + QUESTION in text
    assert page.run("document.querySelectorAll('img, #text script').length") == 0
    tiles = page.run("[...document.querySelectorAll('#tiles .tile')].map(tile => tile.innerText)")
    assert len(tiles) == 8 and any(tile.startswith(level + "\n") for tile in tiles), tiles
    assert any(tile.startswith(f"{answer['skip']['flop_bound']:.2f}x\n") for tile in tiles), tiles
    assert any(tile.startswith(f"{answer['usage']['prompt_tokens']:,}\nprompt tokens") for tile in tiles), tiles
    assert page.run("byId('picture').height") == len(answer["skip"]["rows"])


def test_inspects_page_shows_the_same_picture(server, browser, page, tmp_path):
    document = tmp_path / "document.txt"
    document.write_text(LICENSE[:7000])
    html = tmp_path / "page.html"
    subprocess.run([binary(), "inspect", model(), "--file", str(document), "--question", QUESTION, "--skip", "fast",
                    "--max-tokens", "24", "--html", str(html)], check=True, capture_output=True, timeout=120)
    inspected = browser.open(html.as_uri())
    ask(page, document.read_text(), level="fast")
    for each in (inspected, page):
        each.run(SPANS)
    for script in (SHADES, "spansOf().map(span => span.textContent)", "byId('answer').textContent.slice(0, 20)",
                   "byId('picture-note').textContent", "byId('bars').innerHTML", "byId('histogram').innerHTML"):
        assert inspected.run(script) == page.run(script), script
    assert inspected.problems == []
    assert [url for url in inspected.requests if not url.startswith("file:")] == []
    inspected.close()


def test_the_clock_runs_until_the_first_token_and_stop_stops(server, page):
    fill(page, LICENSE[:34000], level="off")
    page.run("byId('go').click()")
    waiting = "byId('tiles').innerText.includes('waiting for the first token') && parseFloat(byId('tiles').innerText)"
    seen = []
    for _ in range(6):
        seen.append(page.wait(waiting))
        time.sleep(0.2)
    assert len(set(seen)) > 3, "the clock stands still"
    assert page.run("byId('go').disabled") and not page.run("byId('stop').disabled")
    page.run("byId('stop').click()")
    page.wait("byId('ended').textContent === 'Stopped.'")
    assert page.run("byId('wrong').hidden && byId('stop').disabled && !byId('go').disabled")
    assert server.await_idle()["kv_blocks_used"] == 0


def test_a_whole_context_is_shown_and_fits_any_screen(page):
    ask(page, LICENSE[:33500], level="gentle")
    assert page.run("document.querySelectorAll('#text span').length") > 7000
    for width in (1280, 390):
        page.resize(width, 900)
        assert page.run("document.documentElement.scrollWidth") <= width


def test_keyboard_alone(page):
    assert page.run("byId('key-form').hidden")
    page.run("byId('document').focus()")
    page.type("The sea is deep.")
    page.press("Tab")
    assert page.run("document.activeElement.id") == "question"
    page.type("What is deep?")
    page.press("Tab")
    assert page.run("document.activeElement.name") == "level"
    page.run("byId('question').focus()")
    page.press("Enter")
    page.wait("!byId('seen').hidden")
    page.run("byId('picture').focus()")
    page.press("ArrowDown")
    page.press("ArrowRight")
    assert page.run("byId('readout').textContent").startswith("layer 1, token 1: ")
    page.press("Enter")
    assert page.run("document.querySelectorAll('#text .found').length") == 1
    unnamed = """[...document.querySelectorAll('input, textarea, button')].filter(
        e => !e.labels?.length && !e.ariaLabel && !e.innerText.trim() && !e.title).length"""
    assert page.run(unnamed) == 0


def test_a_bar_singles_out_its_tokens(page):
    ask(page, LICENSE[:6000], level="fast")
    bar = "byId('histogram').children[0]"
    tokens = int(re.match(r"([\d,]+) tokens", page.run(bar + ".title")).group(1).replace(",", ""))
    page.run(bar + ".click()")
    lit = "[...document.querySelectorAll('#text span')].filter(s => getComputedStyle(s).opacity === '1').length"
    assert page.run(lit) == tokens > 0
    page.run(bar + ".click()")
    assert page.run(lit) == page.run("document.querySelectorAll('#text span').length") > tokens


def test_files_are_dropped(page):
    drop = """(async (name, bytes) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], name));
        byId('document').dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
        await new Promise(later => setTimeout(later, 300));
        return [byId('document').value, byId('wrong').textContent];
    })"""
    text = "Gr\u00fc\u00dfe\n"
    assert page.run(f"{drop}('a.txt', {list(text.encode())})") == [text, ""]
    value, wrong = page.run(f"{drop}('b.bin', [1, 0, 2])")
    assert value == text and "b.bin is not a text file" in wrong


def test_the_servers_complaints_are_shown(server, page):
    fill(page, "A text.", most=100_000)
    page.run("byId('go').click()")
    message = page.wait("byId('wrong').textContent")
    assert "context" in message and "100000" in message
    ask(page, "A text.")
    assert page.run("byId('wrong').hidden") and page.run("byId('answer').textContent")
    assert len(page.problems) == 1 and "400" in page.problems.pop()


def test_levels_say_what_they_cost_at_the_prompts_length(server, page):
    levels = call(server, "/v1/models")["data"][0]["skip"]["levels"]
    for document, length in ((LICENSE[:9000], 2048), (LICENSE[:33000], 7500)):
        fill(page, document)
        page.wait(f"byId('size').textContent && byId('levels').innerText.includes('at {length:,} tokens')")
        for level in levels:
            figures = next(f for f in level["figures"]["lengths"] if f["prompt_tokens"] == length)
            text = page.run(f"document.querySelector('#levels [value={level['name']}]').parentElement.innerText")
            assert f"{figures['flop_bound']:.2f}x less work" in text and f"KL {figures['kl']:.3f}" in text


def test_state_by_layer_while_an_answer_runs(server, page):
    assert page.wait("byId('load').innerText.startsWith('0\\nwaiting')")
    body = {"messages": [{"role": "user", "content": LICENSE[:6000]}], "max_tokens": 300, "ignore_eos": True,
            "skip": "balanced"}
    other = threading.Thread(target=call, args=(server, "/v1/chat/completions", body))
    other.start()
    page.wait("byId('load').innerText.includes('1\\nanswers under way')")
    blocks = [int(n) for n in page.run("byId('by-layer').ariaLabel").split(": ")[1].split(", ")]
    assert len(blocks) == call(server, "/v1/models")["data"][0]["layers"]
    assert blocks[0] == max(blocks) > min(blocks) > 0  # a level caches fewer tokens in deep layers
    assert page.run("parseFloat(byId('by-layer').children[0].style.height)") == 100
    page.wait("/ m?s\\nbetween two tokens/.test(byId('load').innerText)")
    other.join()
    page.wait("byId('load').innerText.includes('0\\nanswers under way')")
    page.wait("byId('layer-ends').innerText.includes('none in use')")


def test_a_key_is_asked_for_where_the_server_wants_one(server, browser):
    def may_pass(request):
        return request["url"] == server.http + "/" or request["headers"].get("Authorization") == "Bearer sesame"

    page = browser.open(server.http + "/", guard=may_pass)
    page.wait("!byId('key-form').hidden && byId('wrong').textContent === 'a key is needed'")
    assert page.run("document.activeElement.id") == "key"
    page.type("wrong")
    page.press("Enter")
    page.wait("byId('key').value === 'wrong' && !byId('key-form').hidden")
    page.run("byId('key').value = 'sesame'; byId('key').focus()")
    page.press("Enter")
    page.wait("byId('key-form').hidden && document.querySelectorAll('#levels input').length > 2")
    ask(page, "The sea is deep.")
    assert page.run("byId('wrong').hidden") and page.run("byId('answer').textContent")
    page.close()
