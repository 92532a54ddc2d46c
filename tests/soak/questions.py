"""What the soak's clients ask, and what a quiet server answers to each, one after the other."""
import http.client
import json
import random

DOCUMENT = "/usr/share/common-licenses/GPL-3"


def make(levels, max_context, count, seed):
    """`count` bodies for /v1/completions: short and long prompts, some that begin alike, dense and by every level."""
    dice = random.Random(seed)
    text = open(DOCUMENT, errors="replace").read()
    bytes_per_token = 1 if max_context < 4096 else 4  # a small vocabulary's tokens are short
    longest = int(0.8 * max_context * bytes_per_token)
    documents = [text[at:at + longest] for at in (0, 5000, 9000)]
    questions = []
    for i in range(count):
        document = dice.choice(documents)
        if i % 3 == 0:
            prompt = document[:dice.randint(1, 200)]
        elif i % 3 == 1:
            prompt = document[:dice.randint(300, longest // 3)] + f" Question {i}:"
        else:
            prompt = document[:dice.choice((longest // 2, longest))] + f" Question {i}:"
        body = {"prompt": prompt, "max_tokens": dice.choice((1, 4, 16, 60, 200)), "skip": dice.choice(["off", *levels])}
        if dice.random() < 0.5:
            body["temperature"] = 0
        else:
            body.update(temperature=0.9, top_p=0.9, seed=i)
        if dice.random() < 0.2:
            body["ignore_eos"] = True
        if dice.random() < 0.1:
            body["stop"] = [" the", "\n\n"]
        questions.append(body)
    return questions


def request(port, method, path, body=None, timeout=600):
    """-> status, headers, bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def essence(reply):
    """Of an answer's JSON: what must be the same at all times."""
    choice = reply["choices"][0]
    return {"text": choice["text"], "finish_reason": choice["finish_reason"],
            "tokens": reply["usage"]["completion_tokens"], "level": reply["skip"]["level"]}


def answers(port, questions):
    replies = []
    for body in questions:
        status, _, text = request(port, "POST", "/v1/completions", body)
        if status != 200:
            raise SystemExit(f"the quiet server answers {status}: {text[:300]}")
        replies.append(essence(json.loads(text)))
    return replies
