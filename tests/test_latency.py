"""eval.latency: what is called how often, and what the figures mean."""

import gc
import time
from collections import Counter

import numpy as np
import pytest

from core.errors import UserError
from eval.latency import calling_order, measure, summary


class Recorder:
    """A classifier that remembers what it was asked."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.heard, self.threads, self.collecting = seconds, [], 0, set()

    def __call__(self, text: str) -> str:
        self.heard.append(text)
        self.collecting.add(gc.isenabled())
        time.sleep(self.seconds)
        return text

    def use_threads(self, n: int) -> None:
        self.threads = n


def test_calls_are_counted_and_texts_repeat_evenly() -> None:
    pipeline = Recorder()
    texts = ["a", "b", "c"]
    figures = measure(pipeline, texts, calls=30, warmup=4, threads=2, seed=1)
    assert len(pipeline.heard) == 34
    assert Counter(pipeline.heard[4:]) == {"a": 10, "b": 10, "c": 10}
    assert (figures.calls, figures.texts, figures.threads, pipeline.threads) == (30, 3, 2, 2)


def test_distinct_texts_are_counted_not_rows() -> None:
    assert measure(Recorder(), ["a", "a", "b"], calls=10, warmup=0, threads=1, seed=1).texts == 2
    assert measure(Recorder(), [str(index) for index in range(50)], calls=10, warmup=0, threads=1, seed=1).texts == 10


def test_order_is_random_but_the_seeds() -> None:
    first, again, other = (calling_order(100, 100, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert sorted(first) == list(range(100))


def test_figures_by_hand() -> None:
    figures = summary(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), texts=5, threads=1)
    assert (figures.mean_ms, figures.p50_ms, figures.max_ms) == (3.0, 3.0, 5.0)
    assert (figures.p90_ms, figures.p95_ms, figures.p99_ms) == pytest.approx((4.6, 4.8, 4.96))
    assert figures.std_ms == pytest.approx(2**0.5)


def test_time_is_in_milliseconds() -> None:
    figures = measure(Recorder(0.005), ["a"], calls=10, warmup=1, threads=1, seed=0)
    assert 5.0 <= figures.p50_ms < 50.0
    assert figures.p50_ms <= figures.p95_ms <= figures.max_ms


def test_garbage_collection_rests_while_timing_and_returns_even_after_a_failure() -> None:
    pipeline = Recorder()
    measure(pipeline, ["a"], calls=3, warmup=0, threads=1, seed=0)
    assert pipeline.collecting == {False}
    assert gc.isenabled()

    class Failing(Recorder):
        def __call__(self, text: str) -> str:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        measure(Failing(), ["a"], calls=3, warmup=0, threads=1, seed=0)
    assert gc.isenabled()


def test_the_progress_bar_keeps_stdout_clean(capsys: pytest.CaptureFixture[str]) -> None:
    measure(Recorder(), ["a"], calls=3, warmup=0, threads=1, seed=0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "latency" in captured.err


@pytest.mark.parametrize(("texts", "calls"), [([], 10), (["a"], 0)])
def test_nothing_to_time_is_refused(texts: list, calls: int) -> None:
    with pytest.raises(UserError, match="at least one"):
        measure(Recorder(), texts, calls=calls, warmup=0, threads=1, seed=0)
