"""eval.targets: met, missed or undecided by hand; the whole interval decides, not the point."""

import numpy as np
import pytest

from core.rows import Rows
from core.schema import Limits
from eval.accuracy import accuracy
from eval.kept import Answers
from eval.metrics import wilson
from eval.schema import Accuracy, Judgement, Latency, LatencyIntervals, Noise, Resources
from eval.targets import ABOVE, TARGETS, judgements

RESOURCES = Resources(model_size_mb=50.0, bytes_by_group={"encoder": 50_000_000}, memory_usage_mb=200.5)


def counted(tp: int, fp: int, tn: int, fn: int) -> Accuracy:
    labels = np.repeat([1, 0, 0, 1], (tp, fp, tn, fn)).astype(np.int64)
    attack = np.repeat([0.9, 0.9, 0.1, 0.1], (tp, fp, tn, fn))
    n = len(labels)
    names = tuple("PI" if label else "BENIGN" for label in labels)
    said = tuple("PI" if score > 0.5 else "BENIGN" for score in attack)
    texts = tuple(map(str, range(n)))
    rows = Rows(texts, labels, names, names, texts, ("s",) * n)
    return accuracy(rows, Answers(attack, said, said, np.ones(n), np.ones(n)), repeats=200, seed=1)


def timed(p95: float, low: float, high: float, slowdown: float = 1.0) -> Latency:
    noise = Noise(
        workload="w", samples=200, p50_ms=1.0, p95_ms=slowdown, slowdown=slowdown, drift=1.0,
        trusted=slowdown < 1.2, sentence="so noisy",
    )  # fmt: skip
    ends = LatencyIntervals(p50_ms=(0.9, 1.1), p90_ms=(low, high), p95_ms=(low, high), p99_ms=(4.0, 6.0))
    return Latency(
        mean_ms=1.0, p50_ms=1.0, p90_ms=2.0, p95_ms=p95, p99_ms=5.0, max_ms=9.0, std_ms=1.0,
        calls=1000, texts=900, threads=1, intervals=ends, stages={}, noise=noise,
    )  # fmt: skip


def judged(right: Accuracy, latency: Latency | None = None, **limits: float | None) -> dict[str, Judgement]:
    return judgements(Limits(**limits), right, latency, RESOURCES)


@pytest.mark.parametrize(("flagged", "word"), [(23, "met"), (24, "undecided"), (34, "undecided"), (48, "missed")])
def test_one_percent_of_3456_benign_texts_needs_at_most_23(flagged: int, word: str) -> None:
    of = judged(counted(1500, flagged, 3456 - flagged, 22))["fpr"]
    assert (of.verdict, of.measured, of.limit) == (word, flagged / 3456, 0.01)
    assert of.interval == wilson(flagged, 3456)
    assert "at most 23 prove a rate below 1.00 %" in of.sentence
    assert f"{flagged} of 3,456 benign texts flagged" in of.sentence
    assert of.margin is not None
    assert (of.margin > 0) == (word == "met")


def test_none_of_250_proves_nothing_below_its_upper_end() -> None:
    of = judged(counted(0, 0, 250, 0))["fpr"]
    assert of.verdict == "undecided"
    assert of.interval == (0.0, pytest.approx(0.0151, abs=1e-4))
    assert "even 0 would prove nothing below 1.00 % here: that takes 381 texts" in of.sentence
    assert wilson(0, 381)[1] < 0.01 <= wilson(0, 380)[1]


def test_recall_is_judged_by_what_is_missed() -> None:
    assert judged(counted(1500, 0, 100, 10))["recall"].verdict == "met"
    assert judged(counted(1470, 0, 100, 50))["recall"].verdict == "undecided"
    missed = judged(counted(1000, 0, 100, 500))["recall"]
    assert missed.verdict == "missed"
    assert missed.sentence.startswith("500 of 1,500 attacks missed")


def test_f1_takes_the_whole_bootstrap_interval() -> None:
    for right, word in ((counted(1500, 1, 3000, 2), "met"), (counted(700, 30, 3000, 700), "missed")):
        of = judged(right)["accuracy"]
        assert (of.verdict, of.interval) == (word, right.intervals.binary_f1)
    small = counted(20, 1, 20, 1)
    assert small.binary_f1 is not None
    assert judged(small, binary_f1=small.binary_f1 - 1e-9)["accuracy"].verdict == "undecided"


def test_what_a_set_cannot_say_is_not_measured() -> None:
    benign, attacks = judged(counted(0, 1, 999, 0)), judged(counted(999, 0, 0, 1))
    assert [benign[name].verdict for name in ("accuracy", "recall", "fpr")] == ["not measured"] * 2 + ["met"]
    assert [attacks[name].verdict for name in ("accuracy", "recall", "fpr")] == ["not measured", "met", "not measured"]
    assert benign["recall"].sentence == "the set holds no attack"
    assert benign["latency"].verdict == "not measured"


@pytest.mark.parametrize(
    ("latency", "word"),
    [
        (timed(2.8, 2.7, 2.95), "met"),
        (timed(2.8, 2.7, 3.0), "undecided"),
        (timed(3.2, 3.0, 3.4), "missed"),
        (timed(3.2, 3.0, 3.4, slowdown=1.5), "undecided"),  # the machine may have been the one that was slow
        (timed(2.8, 2.7, 2.95, slowdown=1.5), "met"),  # noise never makes a call faster
        (timed(9.0, 8.8, 9.4, slowdown=1.5), "missed"),
    ],
)
def test_latency_takes_the_percentile_s_interval_and_the_machine_s_noise(latency: Latency, word: str) -> None:
    of = judged(counted(10, 0, 10, 0), latency)["latency"]
    assert of.verdict == word
    assert of.interval == (latency.intervals.p95_ms[0] / latency.noise.slowdown, latency.intervals.p95_ms[1])
    assert ("too noisy" in of.sentence) == (latency.noise.slowdown > 1.2)


def test_bytes_are_exact_and_may_stand_on_the_limit() -> None:
    found = judged(counted(10, 0, 10, 0))
    assert (found["size"].verdict, found["size"].interval, found["size"].margin) == ("met", None, 0.0)
    assert (found["memory"].verdict, found["memory"].margin) == ("missed", -0.5)


def test_every_target_of_the_configuration_is_judged_and_null_leaves_it_out() -> None:
    assert list(judged(counted(10, 0, 10, 0))) == list(TARGETS)
    assert set(ABOVE) < set(TARGETS)
    none = dict.fromkeys(Limits.model_fields)
    assert judged(counted(10, 0, 10, 0), None, **none) == {}
    assert list(judged(counted(10, 0, 10, 0), None, **(none | {"p99_ms": 5.0}))) == ["latency_p99"]
