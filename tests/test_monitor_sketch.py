"""What a stream leaves behind: quantiles within their error, windows that stay few, and memory that does not grow."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from log_factory import START, make_batch, make_line, write_log
from scipy.stats import norm

from core.errors import UserError
from eval.live import read
from eval.live.distribution import Distribution
from eval.live.read import LogReader
from eval.live.sketch import HIGHEST, LOWEST, QuantileSketch
from eval.live.tally import Tally
from eval.live.windows import MOST, Windows
from eval.metrics import quantile_interval


def sketch_of(values: np.ndarray, error: float = 0.001) -> QuantileSketch:
    sketch = QuantileSketch(error)
    sketch.add(values)
    return sketch


@pytest.mark.parametrize("error", [0.001, 0.01, 0.1])
def test_every_rank_is_within_the_stated_error(error: float) -> None:
    values = np.sort(np.exp(np.random.default_rng(1).normal(1, 1.5, 20_000)))
    sketch = sketch_of(values, error)
    for rank in (1, 2, 777, 10_000, 19_000, 19_800, 20_000):
        assert sketch.at_rank(rank) == pytest.approx(values[rank - 1], rel=error * 1.0001)
    assert sketch.quantile(0.95) == sketch.at_rank(19_000)
    assert sketch.quantile(0.5) == sketch.at_rank(10_000)


def test_a_few_values_by_hand() -> None:
    sketch = sketch_of(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    found = [sketch.quantile(share) for share in (0.01, 0.2, 0.21, 0.8, 0.95)]
    assert found == pytest.approx([1, 1, 2, 4, 100], rel=0.0011)
    ends = sketch_of(np.array([0.0, 1e9]))
    assert (ends.at_rank(1), ends.at_rank(2)) == pytest.approx((LOWEST, HIGHEST), rel=0.0021)
    with pytest.raises(UserError, match="rank 6 among 5"):
        sketch.at_rank(6)
    with pytest.raises(UserError, match="at least 0, not -1"):
        sketch.add([1.0, -1.0])
    with pytest.raises(UserError, match="at least 0, not nan"):
        sketch.add([math.nan])


def test_the_interval_is_that_of_the_order_statistics_and_its_error() -> None:
    values = np.exp(np.random.default_rng(2).normal(1, 0.5, 3000))
    low, high = sketch_of(values).interval(0.95)
    exact = quantile_interval(values, 0.95)
    assert low <= exact[0] <= low * 1.0041
    assert high * 0.9959 <= exact[1] <= high


def test_merged_is_as_if_added_and_resamples_lie_around() -> None:
    values = np.exp(1 + 0.5 * norm.ppf((np.arange(4000) + 0.5) / 4000))
    whole, half = sketch_of(values), sketch_of(values[:1000])
    half.merge(sketch_of(values[1000:]))
    assert (half.counts == whole.counts).all()
    drawn = whole.resampled(0.95, 400, np.random.default_rng(4))
    assert drawn.shape == (400,)
    assert np.median(drawn) == pytest.approx(whole.quantile(0.95), rel=0.01)
    # The standard error of a quantile: sqrt(p (1 - p) / n) over the density there.
    z = 1.6449
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (0.5 * math.exp(1 + 0.5 * z))
    assert drawn.std() == pytest.approx(math.sqrt(0.95 * 0.05 / 4000) / density, rel=0.15)


def test_windows_stay_few_and_lose_no_line() -> None:
    generator, windows = np.random.default_rng(5), Windows()
    for day in (0, 30, 2, 400):  # not in order, with gaps
        windows.add(make_batch(500, generator, first=day * 86400.0))
    values = windows.values()
    assert 2 <= len(values) <= MOST
    assert sum(one.lines for one in values) == 2000
    assert [one.start for one in values] == sorted(one.start for one in values)
    minutes = Windows()
    minutes.add(make_batch(600, generator))
    assert minutes.seconds == 60
    assert [one.lines for one in minutes.values()] == [60] * 10
    assert minutes.values()[0].start == START.isoformat(timespec="seconds")


def test_three_million_lines_leave_the_state_as_large_as_the_first() -> None:
    reference = np.random.default_rng(6).uniform(0, 1, 500)
    tally = Tally(Distribution(reference), Distribution(np.round(reference * 3000)))
    generator = np.random.default_rng(7)
    batch = make_batch(8192, generator)
    most = MOST * Windows.CELL_BYTES + tally.state_bytes
    lines = 0
    for number in range(370):
        made = batch if number % 2 else make_batch(8192, generator)
        tally.add(made.__class__(**{**vars(made), "seconds": made.seconds + number * 8192}))
        lines += 8192
        assert tally.state_bytes <= most < 2_000_000
    assert tally.lines == lines > 3_000_000
    # Half of the batches are one and the same, hence two percent.
    assert tally.latency.quantile(0.95) == pytest.approx(math.exp(0.5 + 0.4 * 1.6449), rel=0.02)


def test_a_longer_file_takes_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "BATCH", 500)

    def peak(lines: int) -> int:
        path = write_log(tmp_path / f"{lines}.jsonl", [make_line(number, 0.1, every=0.01) for number in range(lines)])
        tally = Tally()
        tracemalloc.start()
        tally.add_all(LogReader(path).batches())
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tally.lines == lines
        return most

    peak(10)  # imports
    short, long = peak(600), peak(3_000)
    assert long < short * 1.15
