"""eval.clock.latency: what is called how often, what the stages add up to, and what the figures mean."""

import gc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.pipeline import STAGES, open_pipeline, untimed
from core.rows import Rows
from eval.clock import latency
from eval.clock.latency import calling_order, figures, measure, measure_together, repeats_sentence, timed_call
from eval.kept import Answers, Calls, Kept, read, write

NAMES = ["a", "b", "c"]


class Clock:
    """Stands for the module `time`: it is as late as it was told."""

    def __init__(self) -> None:
        self.now = 0

    def perf_counter_ns(self) -> int:
        return self.now


class Recorder:
    """A classifier that remembers what it was asked; its stages take 10, 20, 30 and 40 ns, its return 5 more."""

    def __init__(self, clock: Clock | None = None, journal: list[object] | None = None) -> None:
        self.clock, self.journal = clock or Clock(), [] if journal is None else journal
        self.heard: list[str] = []
        self.timed: list[str] = []
        self.collecting: set[bool] = set()
        self.threads = 0

    def __call__(self, text: str, lap: Callable[[str], None]) -> str:
        self.journal.append(self)
        self.heard.append(text)
        self.collecting.add(gc.isenabled())
        if lap is not untimed:
            self.timed.append(text)
        for number, stage in enumerate(STAGES, 1):
            self.clock.now += 10 * number
            lap(stage)
        self.clock.now += 5
        return text

    def use_threads(self, threads: int) -> None:
        self.threads = threads


def calls_of(milliseconds: np.ndarray, row: np.ndarray | None = None) -> Calls:
    """Calls of that length, all of it encoding, with a steady reference."""
    nanoseconds = (np.asarray(milliseconds) * 1e6).astype(np.int64)
    none = np.zeros_like(nanoseconds)
    stages = {STAGES[0]: none, STAGES[1]: nanoseconds, STAGES[2]: none, STAGES[3]: none}
    row = np.arange(len(nanoseconds)) if row is None else row
    return Calls(row, stages, np.full(len(nanoseconds), 1_000_000), 1)


def test_calls_are_counted_and_texts_repeat_evenly() -> None:
    pipeline = Recorder()
    calls = measure(pipeline, NAMES, calls=30, warmup=4, threads=2, seed=1)
    assert pipeline.timed == [NAMES[row] for row in calls.row]
    assert Counter(pipeline.timed) == {"a": 10, "b": 10, "c": 10}
    assert len(pipeline.heard) == 4 + 30 + 8  # the warm-up, and one call after each of the eight reference runs
    assert (calls.threads, pipeline.threads) == (2, 2)
    said = figures(calls)
    assert (said.calls, said.texts, said.threads) == (30, 3, 2)


def test_the_stages_leave_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Recorder(Clock())
    monkeypatch.setattr(latency, "time", pipeline.clock)
    assert timed_call(pipeline, "a") == [10, 20, 30, 45]  # the return belongs to the last stage
    calls = measure(pipeline, NAMES, calls=7, warmup=1, threads=1, seed=0)
    assert {stage: set(nanoseconds.tolist()) for stage, nanoseconds in calls.stages.items()} == dict(
        zip(STAGES, ({10}, {20}, {30}, {45}), strict=True)
    )
    assert calls.total.tolist() == [105] * 7


def test_the_reference_runs_outside_the_timed_part(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Recorder(Clock())
    monkeypatch.setattr(latency, "time", pipeline.clock)

    def slow_reference() -> int:
        pipeline.clock.now += 1_000_000
        return 1_000_000

    monkeypatch.setattr(latency, "workload", lambda: slow_reference)
    calls = measure(pipeline, NAMES, calls=10, warmup=0, threads=1, seed=0)
    assert calls.reference.tolist() == [1_000_000, -1, -1, -1, 1_000_000, -1, -1, -1, 1_000_000, -1]
    assert calls.total.max() == 105
    assert figures(calls).noise.samples == 3


def test_a_pipeline_of_other_stages_is_refused() -> None:
    class Silent(Recorder):
        def __call__(self, text: str, lap: Callable[[str], None]) -> str:
            lap("encode")
            return text

    with pytest.raises(ValueError, match="told the stages encode, not tokenise, encode, classify, post-process"):
        measure(Silent(), NAMES, calls=3, warmup=0, threads=1, seed=0)


def test_the_real_pipeline_tells_its_stages(tiny_checkpoint: Path, tiny_rows: Rows) -> None:
    calls = measure(open_pipeline(tiny_checkpoint), tiny_rows.texts, calls=8, warmup=1, threads=1, seed=3)
    assert tuple(calls.stages) == STAGES
    assert all((nanoseconds > 0).all() for nanoseconds in calls.stages.values())
    assert (calls.reference[[0, 4]] > 0).all()
    assert len(set(calls.row.tolist())) == 8


def test_interleaved_calls_share_texts_and_take_turns() -> None:
    journal: list[object] = []
    runners = [Recorder(journal=journal) for _ in range(3)]
    timed = measure_together(runners, [str(index) for index in range(50)], calls=100, warmup=0, threads=1, seed=5)
    for calls, runner in zip(timed, runners, strict=True):
        assert np.array_equal(calls.row, timed[0].row)
        assert np.array_equal(calls.reference, timed[0].reference)
        assert runner.timed == [str(row) for row in calls.row]
    turns, place = [], 0
    for index in range(100):
        turn = tuple(runners.index(runner) for runner in journal[place : place + 3])
        turns.append(turn)
        place += 3
        if index % 4 == 0:
            assert journal[place] is journal[place - 1]  # the caches are left to whom they were
            place += 1
    assert place == len(journal)
    assert {tuple(sorted(turn)) for turn in turns} == {(0, 1, 2)}
    assert min(Counter(turns)[order] for order in set(turns)) > 5  # all six orders, each about 17 times
    assert len(set(turns)) == 6


def test_order_is_random_but_the_seeds() -> None:
    first, again, other = (calling_order(100, 100, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert sorted(first) == list(range(100))


def test_figures_by_hand() -> None:
    said = figures(calls_of([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert (said.mean_ms, said.p50_ms, said.max_ms) == (3.0, 3.0, 5.0)
    assert (said.p90_ms, said.p95_ms, said.p99_ms) == pytest.approx((4.6, 4.8, 4.96))
    assert said.std_ms == pytest.approx(2**0.5)
    assert said.stages["encode"].p50_ms == 3.0
    assert said.stages["tokenise"].max_ms == 0.0


def test_intervals_are_order_statistics() -> None:
    shuffled = np.random.default_rng(0).permutation(np.arange(1.0, 1001.0))
    said = figures(calls_of(shuffled)).intervals
    # Of 1000 draws 500 are expected below the median, 950 below P95, give or take 1.96 standard deviations.
    assert said.p50_ms == (469.0, 532.0)
    assert said.p95_ms == pytest.approx((950 - 1.96 * 47.5**0.5, 950 + 1.96 * 47.5**0.5), abs=2)


def test_distinct_rows_are_counted_as_texts() -> None:
    assert figures(calls_of([1.0, 2.0, 3.0], np.array([4, 4, 7]))).texts == 2


def test_figures_follow_from_the_kept_calls(tmp_path: Path, tiny_rows: Rows) -> None:
    calls = measure(Recorder(), tiny_rows.texts, calls=90, warmup=0, threads=1, seed=0)
    n = len(tiny_rows)
    answers = Answers(np.full(n, 0.5), tiny_rows.families, tiny_rows.subfamilies, np.zeros(n), np.zeros(n))
    write(Kept(tiny_rows, answers, calls), tmp_path)
    kept = read(tmp_path).calls
    assert kept is not None
    assert figures(kept) == figures(calls)


def test_garbage_collection_rests_while_timing_and_returns_even_after_a_failure() -> None:
    pipeline = Recorder()
    measure(pipeline, ["a"], calls=3, warmup=0, threads=1, seed=0)
    assert pipeline.collecting == {False}
    assert gc.isenabled()

    class Failing(Recorder):
        def __call__(self, text: str, lap: Callable[[str], None]) -> str:
            if len(self.heard) == 2:
                raise RuntimeError("no")
            return super().__call__(text, lap)

    with pytest.raises(RuntimeError):
        measure(Failing(), ["a"], calls=30, warmup=0, threads=1, seed=0)
    assert gc.isenabled()


def test_collection_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        measure(Recorder(), ["a"], calls=1, warmup=0, threads=1, seed=0)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_progress_bar_keeps_stdout_clean(capsys: pytest.CaptureFixture[str]) -> None:
    measure(Recorder(), ["a"], calls=3, warmup=0, threads=1, seed=0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "latency" in captured.err


@pytest.mark.parametrize(("texts", "calls"), [([], 10), (["a"], 0)])
def test_nothing_to_time_is_refused(texts: list, calls: int) -> None:
    with pytest.raises(UserError, match="at least one"):
        measure(Recorder(), texts, calls=calls, warmup=0, threads=1, seed=0)


def test_no_calls_give_no_figures() -> None:
    with pytest.raises(UserError, match="at least one timed call"):
        figures(calls_of(np.zeros(0)))


def test_repeats_are_said() -> None:
    assert repeats_sentence(1000, 1000) is None
    said = repeats_sentence(250, 1000)
    assert said is not None
    assert "250 texts for 1,000 calls" in said
