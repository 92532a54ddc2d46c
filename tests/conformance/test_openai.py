"""The openai client, unmodified, against the real server."""

import math
import re

import openai
import pytest

from server import Server

MESSAGES = [{"role": "user", "content": "Name three colours of the rainbow."}]


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.http + "/v1", api_key="none", max_retries=0, timeout=120)


def chat(client, **more):
    more = {"model": "default", "messages": MESSAGES, "max_tokens": 16, "temperature": 0, **more}
    return client.chat.completions.create(**more)


def complete(client, **more):
    more = {"model": "default", "prompt": "The sky is", "max_tokens": 8, "temperature": 0, **more}
    return client.completions.create(**more)


def joined(stream):
    """Text, all chunks, and the reason of a streamed chat with one choice."""
    chunks = list(stream)
    deltas = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    reasons = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert len(reasons) == 1
    return "".join(deltas), chunks, reasons[0]


def test_models(client):
    models = client.models.list().data
    assert len(models) == 1
    model = client.models.retrieve(models[0].id)
    assert model == models[0]
    assert model.max_model_len > 0
    bounds = {}
    for level in model.skip["levels"]:
        assert re.fullmatch("[0-9a-f]{16}", level["policy_fingerprint"]) and level["policy"]["stage_ends"]
        lengths = [bound["prompt_tokens"] for bound in level["bounds"]]
        assert lengths == sorted(set(lengths)) and lengths[-1] == model.max_model_len
        bounds[level["name"]] = level["bounds"][-1]["flop_bound"]
        for figures in level.get("figures", {"lengths": []})["lengths"]:
            assert figures["cases"] > 0 and figures["kl"] >= 0 and 0 <= figures["agreement"] <= 1
            assert 0 <= figures["facts_found"] <= figures["facts_asked"]
    assert list(bounds.values()) == sorted(bounds.values()), "levels go from gentle to fast"
    assert chat(client, model=model.id).model == model.id


def test_plain_chat(client):
    answer = chat(client)
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion"
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert 0 < usage.completion_tokens <= 16
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens >= 0


def test_stream_equals_plain(client):
    plain = chat(client)
    text, chunks, reason = joined(chat(client, stream=True))
    assert text == plain.choices[0].message.content
    assert reason == plain.choices[0].finish_reason
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_usage_and_report(client):
    options = {"include_usage": True}
    _, chunks, _ = joined(chat(client, stream=True, stream_options=options))
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    last = chunks[-1]
    assert last.choices == [] and last.usage.completion_tokens > 0
    assert last.skip["level"] and last.timings["ttft_seconds"] > 0


def test_limit_and_stop(client):
    short = chat(client, max_tokens=3)
    assert short.usage.completion_tokens == 3 and short.choices[0].finish_reason == "length"
    assert chat(client, max_tokens=openai.omit, max_completion_tokens=2).usage.completion_tokens == 2
    text = complete(client, max_tokens=16).choices[0].text
    middle = text[len(text) // 2 : len(text) // 2 + 3]
    for stop in (middle, ["never in there", middle]):
        cut = complete(client, max_tokens=16, stop=stop).choices[0]
        assert cut.text == text[: text.index(middle)]
        assert cut.finish_reason == "stop"


def test_seed_and_n(client):
    first = chat(client, temperature=1, seed=11, n=3)
    again = chat(client, temperature=1, seed=11, n=3)
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) > 1
    assert first.usage.completion_tokens > first.usage.prompt_tokens_details.cached_tokens
    streamed = {}
    for chunk in chat(client, temperature=1, seed=11, n=3, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + (choice.delta.content or "")
    assert [streamed[i] for i in range(3)] == texts


def test_chat_logprobs(client):
    answer = chat(client, logprobs=True, top_logprobs=4)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    for token in tokens:
        assert token.logprob <= 0 and len(token.top_logprobs) == 4
        best = token.top_logprobs[0]
        assert math.isclose(best.logprob, token.logprob, abs_tol=1e-4)  # greedy
        assert sum(math.exp(top.logprob) for top in token.top_logprobs) <= 1.001
    spelled = b"".join(bytes(token.bytes) for token in tokens)
    assert spelled.decode(errors="replace").startswith(answer.choices[0].message.content[:8])
    streamed = [t for chunk in chat(client, logprobs=True, top_logprobs=4, stream=True)
                for choice in chunk.choices if choice.logprobs for t in choice.logprobs.content]
    assert [t.token for t in streamed] == [t.token for t in tokens]


def test_completion_logprobs(client):
    choice = complete(client, logprobs=3).choices[0]
    logprobs = choice.logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == 8
    assert len(logprobs.top_logprobs) == len(logprobs.text_offset) == 8
    assert "".join(logprobs.tokens) == choice.text
    assert logprobs.text_offset[0] == 0
    assert logprobs.text_offset[1] == len(logprobs.tokens[0])
    assert all(len(top) == 3 for top in logprobs.top_logprobs)


def test_prompts_in_all_shapes(client):
    alone = complete(client).choices[0].text
    both = complete(client, prompt=["The sky is", "Grass is"], n=1)
    assert [choice.index for choice in both.choices] == [0, 1]
    assert both.choices[0].text == alone
    ids = client.post("/../tokenize", body={"text": "The sky is"}, cast_to=object)["tokens"]
    by_ids = complete(client, prompt=[ids, ids])
    assert by_ids.choices[0].text == by_ids.choices[1].text
    assert complete(client, prompt=ids).usage.prompt_tokens == len(ids)
    streamed = "".join(chunk.choices[0].text for chunk in complete(client, stream=True))
    assert streamed == alone


def test_skip_extension(client):
    off = chat(client, extra_body={"skip": "off"})
    assert off.skip["level"] == "off" and off.skip["skip_ratio"] == 0
    assert off.skip["expected_kl"] == 0 and off.skip["expected_agreement"] == 1
    assert "policy_fingerprint" not in off.skip
    policy = {"start": 1, "stage_ends": [2], "budgets": [0.5], "keeps": [0.5],
              "ffn_score": "attention"}  # needs no proxies of the model
    report = {"layers": True, "rows": True}
    long = [{"role": "user", "content": "All work and no play. " * 100 + "What was said?"}]
    answer = chat(client, messages=long, extra_body={"skip": {"policy": policy, "report": report}})
    if not answer.skip.get("reason"):  # a server may have skipping switched off
        assert answer.skip["level"] == "custom" and answer.skip["skip_ratio"] > 0
        assert answer.skip["flop_bound"] > 1
        assert len(answer.skip["policy_fingerprint"]) == 16
        assert "expected_kl" not in answer.skip and "expected_agreement" not in answer.skip
        layers = answer.skip["layers"]
        assert layers[0]["attention"] == answer.usage.prompt_tokens
        assert layers[1]["attention"] < answer.usage.prompt_tokens
        assert len(answer.skip["rows"]) == len(layers)
    assert answer.timings["total_seconds"] >= answer.timings["ttft_seconds"]


def test_sampling_fields_are_taken(client):
    more = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.2, "min_tokens": 4,
            "ignore_eos": True, "skip_special_tokens": True, "stop_token_ids": [1]}
    answer = chat(client, temperature=0.7, top_p=0.9, presence_penalty=0.5, frequency_penalty=0.5,
                  logit_bias={"5": -100}, user="somebody", extra_body=more)
    assert answer.usage.completion_tokens >= 4


def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.NotFoundError) as unknown:
        chat(client, model="no-such-model")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        chat(client, temperature=-1)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as bad:
        chat(client, extra_body={"skip": {"level": "no-such-level"}})
    assert bad.value.param == "skip.level"
    with pytest.raises(openai.BadRequestError) as bad:
        chat(client, messages=[])
    assert bad.value.param == "messages"
    with pytest.raises(openai.BadRequestError):
        complete(client, prompt="x " * 2_000_000)
    with pytest.raises(openai.APIStatusError) as late:
        chat(client, max_tokens=4000, extra_body={"timeout_seconds": 0.001, "ignore_eos": True})
    assert late.value.status_code == 504
    assert chat(client).choices[0].message.content


def test_full_queue_is_a_rate_limit():
    with Server("--max-running", "1", "--max-queue", "1") as small:
        client = openai.OpenAI(base_url=small.http + "/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.RateLimitError) as full:
            chat(client, n=8, max_tokens=64, extra_body={"ignore_eos": True})
        assert full.value.response.headers["retry-after"]
        small.await_idle()  # the choices taken before the one refused leave within a step
        assert chat(client).choices[0].message.content
