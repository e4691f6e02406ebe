"""The A/B test: differences against references, sizes by hand, the rollback rule, and what makes two logs unlike."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from log_factory import START, make_batch, make_line, make_log, write_log
from scipy.stats import fisher_exact

from core import manifest
from core.errors import UserError
from core.pipeline import open_pipeline
from core.prediction_log import PredictionLog
from eval import ab
from eval.live import differences, rates, sizes
from eval.live.read import LogReader, Wanted
from eval.live.side import Side
from eval.live.sketch import QuantileSketch
from eval.live.tally import Tally
from eval.live.testing import compare
from eval.schema.live_ab import ABTest, Effects, Limits

LENIENT = Limits(false_positive_rate=0.9, false_negative_rate=0.99)
EVEN = {(0.1, 0): 985, (0.9, 0): 5, (0.9, 1): 400, (0.1, 1): 4}


def sketch_of(values: np.ndarray) -> QuantileSketch:
    sketch = QuantileSketch()
    sketch.add(values)
    return sketch


def side(lines: int, seed: int, slower: float = 1.0, first: float = 0.0) -> Side:
    """As if a log had been read."""
    tally, log = Tally(), LogReader(Path(f"log-{seed}"))
    tally.add(make_batch(lines, np.random.default_rng(seed), first, slower))
    log.model = f"model-{seed}"
    return Side.of(tally, log, 0)


def test_the_difference_of_two_shares_is_newcombes_and_fishers() -> None:
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 is 0.2, 0.0524 to 0.3339."""
    assert differences.newcombe((48, 80), (56, 70)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert differences.newcombe((0, 10), (0, 20)) == pytest.approx((-0.2775, 0.1611), abs=5e-5)
    assert differences.fisher((1, 10), (8, 10)) == pytest.approx(fisher_exact([[1, 9], [8, 2]]).pvalue)


def test_a_difference_of_counted_rates_by_hand() -> None:
    first = rates.false_positive_rate(np.array([[0, 990, 0], [0, 10, 0]]))
    second = rates.false_positive_rate(np.array([[0, 960, 0], [0, 40, 0]]))
    found = differences.of_rates(first, second, 0)
    assert found is not None
    assert found.value == pytest.approx(0.03)
    assert found.variances == pytest.approx((0.01 * 0.99 / 1000, 0.04 * 0.96 / 1000))
    assert found.p_value < 1e-4
    nothing = rates.false_positive_rate(np.array([[5, 0, 0], [0, 0, 0]]))
    assert differences.of_rates(first, nothing, 0) is None


def test_a_difference_of_weighted_rates_covers_the_same_one_without_labels_missing() -> None:
    first = rates.false_positive_rate(np.array([[8910, 990, 0], [0, 100, 0]]))  # 100 / (9900 + 100)
    second = rates.false_positive_rate(np.array([[0, 960, 0], [0, 40, 0]]))
    found = differences.of_rates(first, second, 0)
    assert found is not None
    assert found.value == pytest.approx(0.03)
    assert 0.015 < found.interval[0] < 0.03 < found.interval[1] < 0.045
    assert found.p_value < 0.01
    assert math.sqrt(found.variances[1]) == pytest.approx(math.sqrt(0.04 * 0.96 / 1000), rel=0.1)


def test_a_difference_of_quantiles_sees_what_is_there_and_nothing_else() -> None:
    values = np.exp(np.random.default_rng(1).normal(1, 0.4, 4000))
    others = np.exp(np.random.default_rng(2).normal(1, 0.4, 6000))
    same = differences.of_quantiles(sketch_of(values), sketch_of(values), 0.95, 0)
    assert (same.value, same.p_value) == (0.0, 1.0)
    chance = differences.of_quantiles(sketch_of(values), sketch_of(others), 0.95, 0)
    assert chance.interval[0] < 0 < chance.interval[1]
    assert chance.p_value > 0.05
    slower = differences.of_quantiles(sketch_of(values), sketch_of(1.1 * others), 0.95, 0)
    assert slower.value == pytest.approx(0.1 * np.quantile(values, 0.95), rel=0.35)
    assert 0 < slower.interval[0] < slower.value < slower.interval[1]
    assert slower.p_value < 0.01
    # A difference that the sketches' own error could make is none, however many calls there are.
    many = np.full(100_000, 3.0)
    within = differences.of_quantiles(sketch_of(many), sketch_of(many * 1.002), 0.95, 0)
    assert within.interval[0] <= 0 < within.interval[1]


def test_sizes_by_hand() -> None:
    """From 10 % to 15 % at a power of 80 %: 686 in each group, as every textbook's table has it."""
    assert sizes.of_shares(0.10, 0.05, 0.8) == 686
    assert sizes.of_shares(0.0, 0.01, 0.8) > sizes.of_shares(0.0, 0.02, 0.8)
    # Two logs of 100 and 200 lines, standard errors 1 and 2: (1.96 + 0.8416)^2 (1 * 100 + 4 * 200) / 3^2
    assert sizes.of_spread((1.0, 4.0), (100, 200), 3.0, 0.8) == math.ceil((1.959964 + 0.841621) ** 2 * 900 / 9)
    with pytest.raises(UserError, match="leaves 0 to 1"):
        sizes.of_shares(0.9, 0.2, 0.8)
    with pytest.raises(UserError, match=r"as a rule 0\.8"):
        sizes.of_shares(0.1, 0.05, 1.0)


def test_the_stated_size_sees_the_effect_as_often_as_it_says() -> None:
    """Simulated with the stated rows: about 80 % of the tests at 5 % find it."""
    rows, generator = sizes.of_shares(0.02, 0.03, 0.8), np.random.default_rng(3)
    found = 0
    for _ in range(400):
        k = generator.binomial(rows, (0.02, 0.05))
        mean = k.sum() / (2 * rows)
        found += abs(k[1] - k[0]) / rows > 1.959964 * math.sqrt(2 * mean * (1 - mean) / rows)
    assert 0.74 < found / 400 < 0.86


def test_lines_needed_follow_from_the_labelled_share() -> None:
    """1,000 lines each, half of them benign and labelled: the rows needed come in twice as many lines."""
    test = compare(*(counted(990, 10) for _ in range(2)), "now", Effects(), Limits())
    one = next(one for one in test.compared if one.name == "false_positive_rate")
    rows = sizes.of_shares(10 / 1000, 0.005, 0.8)
    assert (one.lines_needed, one.lines_missing) == (2 * rows, 2 * rows - 2000)
    assert one.effect == 0.005


def counted(right: int, wrong: int) -> Side:
    """Benign texts, and as many attacks, all caught."""
    tally, log = Tally(), LogReader(Path("log"))
    lines = right + wrong
    batch = make_batch(2 * lines, np.random.default_rng(0))
    benign = np.arange(2 * lines) < lines
    changed = {"failed": np.zeros(2 * lines, bool), "label": np.where(benign, 1, 2)}
    changed["flagged"] = np.where(benign, np.arange(2 * lines) < wrong, True)
    tally.add(batch.__class__(**{**vars(batch), **changed}))
    log.model = "model"
    return Side.of(tally, log, 0)


def test_a_slower_variant_is_worse_and_says_so_with_holms_p_value() -> None:
    test = compare(side(4000, 1), side(4000, 2, slower=1.2), "now", Effects(), LENIENT)
    found = {one.name: one for one in test.compared}
    assert (found["p50_ms"].verdict, found["p95_ms"].verdict) == ("worse", "worse")
    assert found["error_rate"].verdict == "no difference shown"
    assert all((one.adjusted_p_value or 0) >= (one.p_value or 0) for one in test.compared)
    assert found["p95_ms"].adjusted_p_value == pytest.approx(5 * (found["p95_ms"].p_value or 0), rel=1e-6)
    assert found["p95_ms"].effect == pytest.approx(0.1 * (found["p95_ms"].before or 0))
    assert test.status == 1
    faster = compare(side(4000, 2, slower=1.2), side(4000, 1), "now", Effects(), Limits())
    assert {one.name: one.verdict for one in faster.compared}["p95_ms"] == "better"
    assert ABTest.model_validate_json(test.model_dump_json()) == test


def test_logs_that_cannot_be_compared_say_why() -> None:
    here = compare(side(2000, 1), side(2000, 2), "now", Effects(), Limits()).notes
    assert len(here) == 1
    assert "one look" in here[0]
    later = compare(side(2000, 1), side(2000, 2, first=5000.0), "now", Effects(), Limits()).notes
    assert "less than half of their time" in later[0]
    long = side(2000, 3)
    unlike = QuantileSketch(0.01)
    unlike.add(np.full(2000, 9000.0))
    long.tally.characters = unlike
    assert "differ in length" in compare(side(2000, 1), long, "now", Effects(), Limits()).notes[0]


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Call the entry point with arguments; gives the exit status."""

    def call(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["ab", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            ab.main()
        return caught.value.code

    return call


@pytest.mark.parametrize(
    ("counts", "status", "said"),
    [
        (EVEN, 0, "kept"),
        ({(0.1, 0): 900, (0.9, 0): 90, (0.9, 1): 400, (0.1, 1): 4}, 3, "false-positive rate at most 0.015: BROKEN"),
        ({(0.1, 0): 985, (0.9, 0): 5, (0.9, 1): 300, (0.1, 1): 100}, 3, "false-negative rate at most 0.04: BROKEN"),
        ({(0.1, 0): 985, (0.9, 0): 17, (0.9, 1): 400, (0.1, 1): 4}, 1, "over, without proof"),
    ],
)
def test_the_rollback_rule_is_the_exit_status(
    counts: dict[tuple[float | None, int | None], int], status: int, said: str, tmp_path: Path,
    door: Callable[..., object], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    served = make_log(tmp_path / "a.jsonl", EVEN)
    tried = make_log(tmp_path / "b.jsonl", counts, model="smaller")
    written = tmp_path / "new" / "ab.json"
    assert door(served, tried, "--json", written) == status
    assert said in capsys.readouterr().out
    test = ABTest.model_validate_json(written.read_text())
    assert (test.status, test.a.model, test.b.model) == (status, "student", "smaller")
    assert test.b.lines == sum(counts.values())


def test_one_log_with_two_models_and_labels_that_come_later(
    tmp_path: Path, door: Callable[..., object], capsys: Any
) -> None:
    lines = [make_line(number, 0.1 if number % 7 else 0.9, model=("old", "new")[number % 2]) for number in range(1400)]
    path = write_log(tmp_path / "served.jsonl", lines)
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(json.dumps({"id": one.id, "label": int(one.decision == "BLOCK")}) for one in lines))
    assert door(path, path, "--model-a", "old", "--model-b", "new", "--labels", labels) == 0
    out = capsys.readouterr().out
    assert "A: old (served.jsonl), 700 lines, 700 labelled" in out
    assert "700 given labels" not in out  # they belong to the other variant
    assert door(path, path) == 2
    assert "choose one with --model" in capsys.readouterr().err


def test_times_choose_the_lines_of_both(tmp_path: Path, door: Callable[..., object], capsys: Any) -> None:
    paths = [make_log(tmp_path / f"{model}.jsonl", {(0.1, None): 600}, model=model) for model in ("old", "new")]
    assert door(*paths, "--since", "2026-01-31T12:01:00+00:00", "--until", "2026-01-31T12:06:00+00:00") == 0
    out = capsys.readouterr().out
    assert "A: old (old.jsonl), 300 lines" in out
    assert "B: new (new.jsonl), 300 lines" in out
    assert door(*paths, "--since", "1h") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--effect", "p96_ms=1"), "choose among p50_ms"),
        (("--effect", "p95_ms=0"), "greater than 0"),
        (("--power", "0.2"), "as a rule 0.8"),
    ],
)
def test_mistakes_are_found_before_the_logs_are_read(
    arguments: tuple[str, str], said: str, tmp_path: Path, door: Callable[..., object], capsys: Any
) -> None:
    assert door(tmp_path / "a", tmp_path / "b", *arguments) == 2
    assert said in capsys.readouterr().err


def test_an_empty_choice_is_a_mistake(tmp_path: Path) -> None:
    path = make_log(tmp_path / "a.jsonl", EVEN)
    with pytest.raises(UserError, match="nothing to compare"):
        ab.ab(path, path, (Wanted("absent"), Wanted()), Effects(), Limits(), 0.8)
    assert START.tzinfo is not None


def test_two_ways_of_serving_one_model_are_no_a_a_test(
    tiny_checkpoint: Path, tmp_path: Path, door: Callable[..., object], capsys: Any
) -> None:
    logs = []
    for decode in ("beside", "instead"):
        folder = tmp_path / decode / "tiny"
        shutil.copytree(tiny_checkpoint, folder)
        asked = {"decode": decode, "decoded_limit": 0.5, "first_layer": None}
        manifest.write(folder, {**manifest.read(folder).fields, "serving": asked})
        logs.append(tmp_path / f"{decode}.jsonl")
        with PredictionLog(logs[-1], open_pipeline(folder)) as guard:
            for number in range(3):
                guard(f"text {number}")
    door(*logs)
    assert "A/A test" not in capsys.readouterr().out
    door(logs[0], logs[0])
    assert "A/A test" in " ".join(capsys.readouterr().out.split())
