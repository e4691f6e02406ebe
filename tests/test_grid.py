"""eval.clock.grid: what is measured first, what fits the time box, and that everything else is named."""

import gc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.pipeline import open_pipeline
from core.rows import Rows
from eval.clock import grid
from eval.clock.grid import MOST_CALLS, measure
from eval.clock.grid_plan import Setting, by_bucket, expected_seconds, not_there, plan, without_time
from eval.schema import Cell

SHORT, LONG = (1, 16), (257, 512)


class Clock:
    """Stands for the module `time`: it is as late as it was told."""

    def __init__(self) -> None:
        self.now = 0  # nanoseconds

    def perf_counter_ns(self) -> int:
        return self.now

    def perf_counter(self) -> float:
        return self.now / 1e9


class Fake:
    """A pipeline and its encoder: a text has as many ids as characters, and each id it is padded to costs 0.1 ms."""

    def __init__(self, clock: Clock, slow_from: float = float("inf")) -> None:
        self.clock, self.slow_from, self.encoder = clock, slow_from, self
        self.threads: list[int] = []
        self.shapes: list[tuple[int, int, int | None]] = []
        self.collecting: set[bool] = set()

    def __call__(self, text: str, lap: object) -> object:
        raise AssertionError("the grid encodes only")

    def use_threads(self, threads: int) -> None:
        if self.threads[-1:] != [threads]:
            self.threads.append(threads)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return [[7] * len(text) for text in texts]

    def embed(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> np.ndarray:
        self.collecting.add(gc.isenabled())
        self.shapes.append((self.threads[-1], len(tokens), width))
        width = width or max(map(len, tokens))
        self.clock.now += int(len(tokens) * width * 1e5) * (100 if self.clock.perf_counter() >= self.slow_from else 1)
        return np.zeros((len(tokens), 1), np.float32)

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        return self.embed(self.tokenise(texts))

    dimension = 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(grid, "time", clock)
    return clock


def places(cells: Sequence[Cell]) -> list[tuple[str, int, int, str]]:
    return [(cell.tokens, cell.threads, cell.batch, cell.padding) for cell in cells]


def test_the_most_important_come_first() -> None:
    settings = plan([SHORT, LONG], cores=2)
    assert len(settings) == 2 * 3 * 2 * 2
    assert settings[:5] == [
        Setting(1, 1, None, SHORT),
        Setting(1, 1, None, LONG),
        Setting(1, 1, 512, SHORT),
        Setting(1, 1, 512, LONG),
        Setting(1, 8, None, SHORT),
    ]
    assert {setting.threads for setting in settings[:12]} == {1}
    assert {setting.threads for setting in settings[12:]} == {2}


@pytest.mark.parametrize(("cores", "threads"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])])
def test_threads_double_up_to_the_cores(cores: int, threads: list[int]) -> None:
    assert sorted({setting.threads for setting in plan([SHORT], cores)}) == threads


def test_texts_fall_into_buckets_by_their_ids() -> None:
    lengths = (0, 1, 16, 17, 256, 257, 512, 513)
    tokens = [[7] * length for length in lengths]
    found = by_bucket(tokens)
    assert {bucket: [len(ids) for ids in texts] for bucket, texts in found.items()} == {
        (1, 16): [1, 16],
        (17, 32): [17],
        (129, 256): [256],
        (257, 512): [257, 512],
    }
    assert not_there(tokens) == [
        "33-64 ids: no such text",
        "65-128 ids: no such text",
        "2 texts of no ids, or of more than 512",
    ]


def test_with_time_enough_every_cell_is_there(clock: Clock) -> None:
    pipeline = Fake(clock)
    result = measure(pipeline, ["x" * 10, "x" * 300], seconds=10_000, cores=2, seed=0)
    assert places(result.cells) == [
        (f"{at.bucket[0]}-{at.bucket[1]}", at.threads, at.batch, at.padding) for at in plan([SHORT, LONG], 2)
    ]
    assert {cell.calls for cell in result.cells} == {MOST_CALLS}
    by_place = dict(zip(places(result.cells), result.cells, strict=True))
    alone = by_place["1-16", 1, 1, "dynamic"]  # 10 ids of 0.1 ms
    assert (alone.p50_ms, alone.p95_ms, alone.texts_per_second) == pytest.approx((1.0, 1.0, 1000.0))
    assert by_place["257-512", 1, 1, "dynamic"].p50_ms == pytest.approx(30.0)
    assert by_place["1-16", 2, 8, "512"].p50_ms == pytest.approx(8 * 51.2)
    assert by_place["1-16", 2, 8, "512"].texts_per_second == pytest.approx(1000 / 51.2)
    assert result.left_out == tuple(f"{name} ids: no such text" for name in ("17-32", "33-64", "65-128", "129-256"))
    assert pipeline.threads == [1, 2, 1]
    assert pipeline.collecting == {False}
    assert gc.isenabled()


def test_the_box_is_kept_and_what_is_left_out_is_named(clock: Clock) -> None:
    pipeline = Fake(clock)
    result = measure(pipeline, ["x" * 10, "x" * 500], seconds=4.0, cores=2, seed=0)
    assert result.seconds == clock.perf_counter()
    assert result.seconds <= 4.5
    assert result.seconds > 2.0
    measured = places(result.cells)
    assert measured[:4] == [
        ("1-16", 1, 1, "dynamic"), ("257-512", 1, 1, "dynamic"), ("1-16", 1, 1, "512"), ("257-512", 1, 1, "512")
    ]  # fmt: skip
    assert ("1-16", 2, 1, "dynamic") in measured  # a slow cell of one thread does not cost all of two threads
    assert ("257-512", 1, 32, "512") not in measured  # 1.6 s a call
    assert min(cell.calls for cell in result.cells) >= 4
    lines = [line for line in result.left_out if line.endswith("no time")]
    assert any(line.startswith("1 thread, batch 32, padding 512, ") and "257-512" in line for line in lines)
    named = sum(line.count("1-16") + line.count("257-512") for line in lines)
    assert named + len(measured) == 24


def test_a_cell_slower_than_expected_stops_when_the_box_is_over(clock: Clock) -> None:
    pipeline = Fake(clock, slow_from=0.05)
    result = measure(pipeline, ["x" * 10], seconds=1.0, cores=1, seed=0)
    assert result.cells[-1].calls < 4
    assert result.seconds < 1.0 + 2 * 5.2  # the untimed call and the timed one, each of 512 slow ids


def test_each_cell_gets_a_fair_share(clock: Clock) -> None:
    result = measure(Fake(clock), ["x" * 10], seconds=0.6, cores=1, seed=0)
    first = result.cells[0]
    assert first.calls == pytest.approx(0.6 / 6 / 0.001, abs=2)  # a sixth of the box, 1 ms a call


def test_one_text_fills_a_batch_and_the_seed_decides_the_rest(clock: Clock) -> None:
    texts = ["x" * length for length in range(1, 17)]
    first, again, other = (
        [cell.texts_per_second for cell in measure(Fake(clock), texts, seconds=2, cores=1, seed=seed).cells]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_expectation_goes_by_the_largest_smaller_batch() -> None:
    def cell(batch: int, milliseconds: float) -> Cell:
        numbers = {"calls": 4, "p50_ms": milliseconds, "p95_ms": milliseconds, "texts_per_second": 1.0}
        return Cell(tokens="1-16", threads=1, batch=batch, padding="dynamic", **numbers)

    cells = {Setting(1, 1, None, SHORT): cell(1, 10.0), Setting(1, 8, None, SHORT): cell(8, 40.0)}
    assert expected_seconds(Setting(1, 32, None, SHORT), cells) == pytest.approx(0.160)
    assert expected_seconds(Setting(2, 1, None, SHORT), cells) == pytest.approx(0.010)
    assert expected_seconds(Setting(1, 8, None, LONG), cells) == 0
    assert expected_seconds(Setting(1, 8, 512, SHORT), cells) == 0


def test_settings_that_differ_in_length_share_a_line() -> None:
    waiting = [Setting(2, 8, None, LONG), Setting(1, 32, 512, SHORT), Setting(2, 8, None, SHORT)]
    assert without_time(waiting) == [
        "1 thread, batch 32, padding 512, 1-16 ids: no time",
        "2 threads, batch 8, padding dynamic, 1-16, 257-512 ids: no time",
    ]


def test_one_thread_is_restored_after_a_failure(clock: Clock) -> None:
    class Failing(Fake):
        def embed(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> np.ndarray:
            if self.threads[-1] == 2:
                raise RuntimeError("no")
            return super().embed(tokens, width)

    pipeline = Failing(clock)
    with pytest.raises(RuntimeError):
        measure(pipeline, ["x"], seconds=100, cores=2, seed=0)
    assert pipeline.threads == [1, 2, 1]
    assert gc.isenabled()


def test_a_real_encoder(tiny_checkpoint: Path, tiny_rows: Rows) -> None:
    result = measure(open_pipeline(tiny_checkpoint), tiny_rows.texts, seconds=0.5, cores=1, seed=0)
    assert result.cells
    assert all(cell.texts_per_second > 0 for cell in result.cells)
    assert {cell.tokens for cell in result.cells} <= {"1-16", "17-32"}


@pytest.mark.parametrize(("texts", "seconds"), [([], 1.0), (["a"], 0.0)])
def test_nothing_to_measure_is_refused(clock: Clock, texts: list[str], seconds: float) -> None:
    with pytest.raises(UserError, match="at least one text and some time"):
        measure(Fake(clock), texts, seconds=seconds, cores=1, seed=0)
