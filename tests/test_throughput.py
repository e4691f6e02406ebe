"""eval.clock.throughput: callers work at once, every text has its turn, and a failure ends the load."""

import gc
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from core.errors import UserError
from core.pipeline import untimed
from eval.clock import throughput
from eval.clock.latency import calling_order
from eval.clock.throughput import measure, saturate
from eval.schema import Throughput

TEXTS = [str(index) for index in range(40)]


class Sleeper:
    """A classifier that sleeps, which lets other threads run."""

    def __init__(self, seconds: float = 0.005) -> None:
        self.seconds = seconds
        self.heard: list[str] = []
        self.threads = 0

    def __call__(self, text: str, lap: Callable[[str], None]) -> str:
        self.heard.append(text)
        time.sleep(self.seconds)
        return text

    def use_threads(self, threads: int) -> None:
        self.threads = threads


def test_callers_work_at_once() -> None:
    together, own = threading.Barrier(4, timeout=60), threading.local()

    class Waiting(Sleeper):
        def __call__(self, text: str, lap: Callable[[str], None]) -> str:
            super().__call__(text, lap)
            if threading.current_thread() is not threading.main_thread() and not hasattr(own, "met"):
                own.met = together.wait()  # only four callers at once get past their first call
            return text

    pipeline = Waiting()
    load = saturate(pipeline, TEXTS, seconds=0.2, callers=4, seed=0)
    assert load.callers == 4
    assert load.texts == len(pipeline.heard) - 4  # each caller's untimed call before
    assert load.texts_per_second == pytest.approx(load.texts / load.seconds)
    assert load.seconds >= 0.2
    assert load.p95_ms >= 5
    assert gc.isenabled()


def test_callers_share_the_texts() -> None:
    pipeline = Sleeper(0.001)
    saturate(pipeline, TEXTS[:4], seconds=0.1, callers=4, seed=0)
    often = Counter(pipeline.heard[4:])
    assert set(often) == set(TEXTS[:4])
    assert max(often.values()) - min(often.values()) <= 1


def test_texts_come_in_random_order() -> None:
    pipeline = Sleeper(0.001)
    saturate(pipeline, TEXTS, seconds=0.1, callers=1, seed=3)
    timed = pipeline.heard[1:41]
    assert timed == [TEXTS[index] for index in calling_order(40, 40, 3)][: len(timed)]


def test_a_call_longer_than_the_time_is_finished() -> None:
    load = saturate(Sleeper(0.1), TEXTS, seconds=0.0, callers=2, seed=0)
    assert load.texts == 2
    assert load.seconds >= 0.1


def test_the_better_load_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, int]] = []

    def fake(pipeline: Sleeper, texts: list[str], seconds: float, callers: int, seed: int) -> Throughput:
        asked.append((seconds, callers))
        best = {2: 50.0, 3: 90.0, 4: 70.0, 6: 80.0}[callers]
        return Throughput(callers=callers, seconds=seconds, texts=10, texts_per_second=best, p95_ms=1.0)

    monkeypatch.setattr(throughput, "saturate", fake)
    pipeline = Sleeper()
    assert measure(pipeline, TEXTS, seconds=5, cores=2, seed=0).callers == 4
    assert measure(pipeline, TEXTS, seconds=5, cores=3, seed=0).callers == 3
    assert asked == [(2.5, 2), (2.5, 4), (2.5, 3), (2.5, 6)]
    assert pipeline.threads == 1


def test_a_failure_ends_the_load_at_once() -> None:
    class Failing(Sleeper):
        def __call__(self, text: str, lap: Callable[[str], None]) -> str:
            if len(self.heard) == 20:
                raise RuntimeError("no")
            return super().__call__(text, lap)

    start = time.perf_counter()
    with pytest.raises(RuntimeError, match="no"):
        measure(Failing(), TEXTS, seconds=600, cores=2, seed=0)
    assert time.perf_counter() - start < 150  # a load lasts 300
    assert gc.isenabled()


def test_nothing_is_told_of_stages() -> None:
    class Suspicious(Sleeper):
        def __call__(self, text: str, lap: Callable[[str], None]) -> str:
            assert lap is untimed
            return super().__call__(text, lap)

    assert measure(Suspicious(0.001), TEXTS, seconds=0.1, cores=1, seed=0).texts > 0


@pytest.mark.parametrize(("texts", "seconds"), [([], 1.0), (["a"], 0.0)])
def test_nothing_to_measure_is_refused(texts: list[str], seconds: float) -> None:
    with pytest.raises(UserError, match="at least one text and some time"):
        measure(Sleeper(), texts, seconds=seconds, cores=1, seed=0)
