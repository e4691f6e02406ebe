"""eval.race: ratios from interleaved calls, against values by hand, and a race from folders to files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from core.errors import UserError
from core.pipeline import STAGES
from core.schema import Evaluation, Experiment
from eval import race
from eval.clock import latency, race_report
from eval.clock.racing import race as run_race
from eval.clock.ratios import ratios
from eval.kept import Calls
from eval.schema.race import Race

TEXTS = [f"text {'x' * index}" for index in range(30)]


class Clock:
    """Stands for the module `time`: it is as late as it was told."""

    def __init__(self) -> None:
        self.now = 0

    def perf_counter_ns(self) -> int:
        return self.now


class Runner:
    """A model whose calls take `microseconds(text)`, all of it encoding."""

    def __init__(self, clock: Clock, name: str, microseconds: Callable[[str], float]) -> None:
        self.clock, self.model_id, self.microseconds = clock, name, microseconds
        self.folder, self.precision, self.threads = Path("folder") / name, "fake", 0
        self.described = {"files": {"a": "0" * 64}}

    def __call__(self, text: str, lap: Callable[[str], None]) -> str:
        for stage in STAGES:
            if stage == "encode":
                self.clock.now += round(self.microseconds(text) * 1000)
            lap(stage)
        return text

    def use_threads(self, threads: int) -> None:
        self.threads = threads


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(latency, "time", clock)
    monkeypatch.setattr(latency, "workload", lambda: lambda: 1_000_000)
    return clock


def asked(**given: object) -> Evaluation:
    """Fewer calls than a configuration may ask, so that tests are quick."""
    quick = {"latency_calls": len(TEXTS), "warmup_calls": 1, "bootstrap_repeats": 200}
    return Evaluation().model_copy(update={**quick, **given})


def raced(runners: list[Runner], texts: list[str] = TEXTS, **given: object) -> Race:
    return run_race(runners, texts, asked(**given), synthetic=False, provenance={}, seed=3)


def calls_of(milliseconds: list[float], row: list[int] | None = None) -> Calls:
    total = (np.array(milliseconds) * 1e6).astype(np.int64)
    rows = np.arange(len(total)) if row is None else np.array(row)
    return Calls(rows, {"encode": total}, np.full(len(total), -1), 1)


def test_ratios_by_hand() -> None:
    first, peer = calls_of([1.0, 2.0, 4.0]), calls_of([2.0, 2.0, 2.0])
    at_median, at_p95, by_text = ratios(first, peer, repeats=500, seed=0)
    assert at_median.value == pytest.approx(1.0)
    assert at_p95.value == pytest.approx(2.0 / 3.8)
    assert by_text.value == pytest.approx((2.0 * 1.0 * 0.5) ** (1 / 3))
    assert at_median.interval[0] <= 1 <= at_median.interval[1]
    assert 0.5 - 1e-9 <= by_text.interval[0] < 0.6 < 1.7 < by_text.interval[1] <= 2.0 + 1e-9


def test_what_is_slow_for_both_cancels_out() -> None:
    spread = np.random.default_rng(0).lognormal(sigma=2, size=200)
    found = ratios(calls_of(list(spread)), calls_of(list(1.5 * spread)), repeats=200, seed=0)
    for ratio in found:
        assert (ratio.value, *ratio.interval) == pytest.approx((1.5, 1.5, 1.5), rel=1e-4)


def test_the_interval_is_that_of_a_bootstrap_over_texts() -> None:
    """The geometric mean's interval is near its normal approximation."""
    generator = np.random.default_rng(1)
    logs = generator.normal(0.1, 0.3, size=400)
    _, _, by_text = ratios(calls_of([10.0] * 400), calls_of(list(10 * np.exp(logs))), repeats=2000, seed=0)
    half = 1.96 * logs.std() / 20
    assert by_text.interval == pytest.approx((np.exp(logs.mean() - half), np.exp(logs.mean() + half)), rel=0.005)


def test_calls_of_one_text_are_drawn_together() -> None:
    """Two texts called a hundred times are two draws, not two hundred: the interval spans both."""
    row = [0, 1] * 100
    first, peer = calls_of([1.0, 1.0] * 100, row), calls_of([1.0, 3.0] * 100, row)
    assert ratios(first, peer, repeats=300, seed=0)[2].interval == pytest.approx((1.0, 3.0))


def test_ratios_refuse_what_is_not_paired() -> None:
    with pytest.raises(ValueError, match="same texts in the same order"):
        ratios(calls_of([1.0, 2.0]), calls_of([1.0, 2.0], [1, 0]), repeats=10, seed=0)
    uneven = calls_of([1.0, 2.0, 3.0], [0, 0, 1])
    with pytest.raises(ValueError, match="1 to 2 times"):
        ratios(uneven, uneven, repeats=10, seed=0)


def test_a_peer_of_twice_the_time(clock: Clock) -> None:
    slow, quick = Runner(clock, "slow", lambda text: 2 * len(text)), Runner(clock, "quick", len)
    result = raced([quick, slow, Runner(clock, "same", len)])
    twice, same = result.peers
    assert (twice.verdict, same.verdict) == ("slower", "undecided")
    for ratio in (twice.p50_ratio, twice.p95_ratio, twice.geometric_mean_ratio):
        assert (ratio.value, *ratio.interval) == pytest.approx((2.0, 2.0, 2.0))
    assert "slow is slower than quick" in twice.sentence
    assert "2.000 times as long" in twice.sentence
    assert "same cannot be told from quick" in same.sentence
    assert raced([slow, quick]).peers[0].verdict == "faster"
    assert (result.texts, result.calls, slow.threads) == (30, 30, 1)
    assert result.first.latency.p50_ms == pytest.approx(np.median([len(text) for text in TEXTS]) / 1000)
    assert result.first.stages["classify"].max_ms == 0
    assert result.notes[0].startswith("The ratios suffer less")  # few reference runs: not trusted
    assert len(result.notes) == 1


def test_few_texts_are_called_equally_often(clock: Clock) -> None:
    result = raced([Runner(clock, "a", len), Runner(clock, "b", len)], TEXTS[:7], latency_calls=30)
    assert (result.texts, result.calls) == (7, 35)
    assert result.notes[-1] == "Each of the 7 texts was called 5 times by each model."


def test_more_texts_than_calls_are_not_all_called(clock: Clock) -> None:
    result = raced([Runner(clock, "a", len), Runner(clock, "b", len)], latency_calls=20)
    assert (result.texts, result.calls) == (20, 20)


def test_models_of_one_name_go_by_their_folders(clock: Clock) -> None:
    here, there = Runner(clock, "student", len), Runner(clock, "student", len)
    there.folder = Path("elsewhere/student")
    result = raced([here, there])
    assert (result.first.name, result.peers[0].name) == ("folder/student", "elsewhere/student")
    assert raced([here, here]).peers[0].name == "student"


@pytest.mark.parametrize(
    ("entrants", "texts", "given", "told"),
    [
        (1, TEXTS, {}, "at least two models"),
        (2, [], {}, "at least two texts"),
        (2, TEXTS[:1], {}, "at least two texts"),
        (2, TEXTS, {"latency_calls": 0}, "evaluation.latency_calls"),
    ],
)
def test_no_race_is_refused(clock: Clock, entrants: int, texts: list[str], given: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        raced([Runner(clock, "a", len)] * entrants, texts, **given)


def test_it_is_written_and_printed(clock: Clock, tmp_path: Path) -> None:
    result = raced([Runner(clock, "a|<b>[red]", len), Runner(clock, "peer", lambda text: 2 * len(text))])
    as_json, as_markdown = race_report.write(result, tmp_path / "new")
    assert Race.model_validate_json(as_json.read_text()) == result
    page = as_markdown.read_text()
    assert "<b>" not in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "2.000 [2.000, 2.000]" in page
    console = Console(width=200, record=True)
    race_report.print_race(result, console)
    shown = console.export_text()
    assert "a|<b>[red] (fake)" in shown
    assert "peer is slower than a|<b>[red]" in shown


def test_folders_are_named_after_the_models(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "student", tmp_path / "a" / "student-int8"]
    assert race.race_folder(tmp_path, folders, "test") == tmp_path / "races" / "student-against-student-int8-test"
    alike = [tmp_path / "a" / "student", tmp_path / "b" / "student"]
    assert race.race_folder(tmp_path, alike, "test").name == "a-student-against-b-student-test"
    many = [tmp_path / f"option_{number}_of_many" / "student-int8-packed" for number in range(9)]
    cut = race.race_folder(tmp_path, many, "test").name
    assert cut == "option_0_of_many-student-int8-packed-against-option_1_of_many-student-int8-packed-and-7-more-test"


def experiment(checkpoint: Path | None, peers: tuple[Path, ...], output: Path, data: dict) -> Experiment:
    given = Experiment(name="tiny", output=output, checkpoint=checkpoint, data=data)
    return given.model_copy(update={"evaluation": asked(peers=peers, latency_calls=24)})


def test_a_checkpoint_against_itself(
    tiny_checkpoint: Path, data: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert race.work(experiment(tiny_checkpoint, (tiny_checkpoint,), tmp_path, data)) == 0
    parent = tiny_checkpoint.parent.name
    written = tmp_path / "races" / f"{parent}-tiny-against-{parent}-tiny-validation" / "race.json"
    result = Race.model_validate_json(written.read_text())
    assert (result.texts, result.calls) == (12, 24)
    assert result.first.digest == result.peers[0].digest
    assert 0.2 < result.peers[0].geometric_mean_ratio.value < 5  # whatever else the machine does meanwhile
    assert result.provenance["fingerprints"]["validation"]
    assert not result.noise.trusted  # too few runs to judge
    assert str(written) in capsys.readouterr().out


def test_a_race_needs_a_peer(tiny_checkpoint: Path, data: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation\.peers"):
        race.work(experiment(tiny_checkpoint, (), tmp_path, data))
