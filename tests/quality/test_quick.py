"""The short version of the quality harness, on the real model: a minute or so. What it asserts is far from what was measured, so
that only a real loss of quality fails; the page that tests/quality/report.sh makes has the figures."""

import json
import os
import subprocess

import pytest

CASES = 8


def evaluate(folder, tasks, cases, *flags):
    path = folder / "eval.json"
    subprocess.run(
        [os.environ["SKIPSERVE_BINARY"], "eval", os.environ["SKIPSERVE_TEST_MODEL"], "/usr/share/common-licenses", "--tasks",
         tasks, "--lengths", "1536", "--cases", str(cases), "--json", str(path), *flags],
        check=True)
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return evaluate(tmp_path_factory.mktemp("eval"), "fact,summary,continuation", CASES)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """More of them, since dense answers a third, and some of those by a hair: of these 24 it answered 8."""
    return evaluate(tmp_path_factory.mktemp("facts"), "fact", 24, "--no-baselines")


def outcomes(evaluation, task, reading):
    """Pairs of dense's outcome and the reading's, for every case of the task."""
    names = [r["name"] for r in evaluation["readings"]]
    return [(case["outcomes"][0], case["outcomes"][names.index(reading)]) for case in evaluation["cases"] if
            case["task"] == task]


def kl(pairs):
    return sum(o["kl"] for _, o in pairs) / sum(o["answer_tokens"] for _, o in pairs)


def levels(evaluation):
    return [r["name"] for r in evaluation["readings"] if r["method"] == "skip"]


def test_every_case_has_every_reading(evaluation):
    assert levels(evaluation) == ["gentle", "balanced", "fast"]
    assert len(evaluation["readings"]) == 1 + 3 * 3
    for task in ("fact", "summary", "continuation"):
        cases = [case for case in evaluation["cases"] if case["task"] == task]
        assert len(cases) == CASES
        assert all(len(case["outcomes"]) == len(evaluation["readings"]) for case in cases)


def test_dense_is_what_others_are_measured_by(evaluation):
    for task in ("fact", "summary", "continuation"):
        for dense, same in outcomes(evaluation, task, "dense"):
            assert same["kl"] == 0 and same["agreed"] == same["answer_tokens"] == dense["answer_tokens"] > 0
            assert same["flop_bound"] == 1


def test_levels_save_what_they_say_and_facts_survive(facts):
    for level, bound, most_kl in (("gentle", 1.4, 0.15), ("balanced", 2.0, 0.25), ("fast", 2.4, 0.4)):
        pairs = [(d, o) for d, o in outcomes(facts, "fact", level) if d["score"] == 1]
        assert len(pairs) >= 4, "the dense model answers next to nothing"
        assert min(o["flop_bound"] for _, o in pairs) >= bound
        assert 0 < kl(pairs) < most_kl, level
        assert sum(o["score"] == 1 for _, o in pairs) >= len(pairs) / 2, level


def test_baselines_cost_no_more_than_the_level(evaluation):
    for level in levels(evaluation):
        for baseline in (f"last tokens, as {level}", f"pruned once, as {level}"):
            for task in ("fact", "continuation"):
                for (_, mine), (_, other) in zip(outcomes(evaluation, task, level), outcomes(evaluation, task, baseline)):
                    assert other["flop_bound"] >= mine["flop_bound"] * 0.9999
                    assert other["flop_bound"] <= mine["flop_bound"] * 1.02


def test_continuations_have_a_loss(evaluation):
    for level in ["dense"] + levels(evaluation):
        losses = [o["loss"] for _, o in outcomes(evaluation, "continuation", level)]
        assert all(0.5 < loss < 8 for loss in losses), level
