"""benchmarks.formats and benchmarks.cold_start: ratios by hand, targets, and both commands on small served folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cold_start, formats
from benchmarks.cold_start import Start
from core.errors import UserError
from export import timing
from tests.layout_factory import served

__all__ = ["served"]  # a fixture


def test_a_ratio_by_hand() -> None:
    """All calls alike: the interval is the ratio itself."""
    assert timing.ratio(np.full((2, 5), 2.0), np.full((2, 5), 3.0), 1) == (1.5, 1.5, 1.5)


def test_the_interval_is_paired() -> None:
    """Turns that are slow for both say nothing about which is slower."""
    slow = np.random.default_rng(0).lognormal(0, 1.0, (4, 50))
    value, low, high = timing.ratio(slow, 1.1 * slow, 1)
    assert (value, low, high) == pytest.approx((1.1, 1.1, 1.1))
    _, low, high = timing.ratio(slow, 1.1 * slow[::-1], 1)
    assert low < 1.0 < high


def times(*milliseconds: float) -> np.ndarray:
    """(lengths, 2, 4), all calls of a length alike."""
    return np.stack([np.full((2, 4), value) for value in milliseconds])


def test_every_graph_stands_beside_the_first() -> None:
    found = formats.compare({"int8": times(2.0, 4.0), "int4": times(2.0, 5.0), "packed": times(1.0, 4.0)}, (32, 64))
    assert [one.value for one in found["int4"]] == [1.0, 1.25]
    assert [one.verdict for one in found["int4"]] == ["cannot be told from it", "slower"]
    assert [one.verdict for one in found["packed"]] == ["faster", "cannot be told from it"]
    assert [one.reaches(1.05) for one in found["int4"]] == ["met", "missed"]
    loaded = {name: np.array([0.5]) for name in found}
    said = formats.sentences(found, dict.fromkeys(found, b"x" * 20_000), loaded, 1.05)
    assert said[:3] == ["int8: 0.02 MB, opened in 0.500 s", "  32 tokens: 2.00 ms", "  64 tokens: 4.00 ms"]
    assert said[5] == "  64 tokens: 5.00 ms, 1.250 times the first (1.250 to 1.250): slower; at most 1.05 is missed"


def asked(folders: list[Path], most: float | None, tokens: Sequence[int] | None = (4, 9)) -> argparse.Namespace:
    return argparse.Namespace(folders=folders, tokens=tokens, rounds=1, calls=3, most=most)


def test_the_race_of_served_folders(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [served / "small-fp32", served / "small-int8"]
    assert formats.work(asked(folders, None)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        str(folders[0]), "  4 tokens", "  9 tokens", str(folders[1]), "  4 tokens", "  9 tokens"
    ]  # fmt: skip
    assert "times the first" not in lines[1]
    assert "times the first" in lines[4]
    assert formats.work(asked(folders, 1e6)) == 0
    assert formats.work(asked(folders, 1e-6)) == 1


def test_texts_are_as_the_folders_can_read_them(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No id beyond the smallest vocabulary, no length beyond the shortest: graphs would fail on either."""
    folders, raced = [served / "small-fp32", served / "small-int8"], dict[str, object]()

    def race(graphs: object, tokens: Sequence[int], rounds: int, calls: int, vocabulary: int, seed: int) -> object:
        raced.update(tokens=list(tokens), vocabulary=vocabulary)
        return {str(folder): np.ones((len(tokens), rounds, calls)) for folder in folders}

    monkeypatch.setattr(timing, "race", race)
    longest, known = formats.shared(folders)
    assert formats.work(asked(folders, None, None)) == 0
    assert raced == {"tokens": [n for n in formats.LENGTHS if n <= longest] or [longest], "vocabulary": known}
    with pytest.raises(UserError, match=rf"asks for {longest + 1}, and a folder reads {longest} at most"):
        formats.work(asked(folders, None, [8, longest + 1]))
    ids = timing.text_of(5000, 210, 1)["input_ids"]
    assert (ids.min(), ids.max()) == (timing.SPECIAL, 209)


def test_what_cannot_be_raced_is_named(served: Path, tmp_path: Path) -> None:
    int8 = served / "small-int8"
    for folders, told in (
        ([int8], "two folders or more"),
        ([int8, int8], "named twice"),
        ([int8, served / "small-int8-raxe-bundle"], "a serving folder has exactly one"),
        ([int8, tmp_path], "not one of our checkpoints"),
    ):
        with pytest.raises(UserError, match=told):
            formats.work(asked(folders, None))


def start(wall: float, peak: float) -> Start:
    return Start(wall + 0.1, [wall / 2, wall / 4, wall / 4], [0.02, wall / 2, wall / 4, 0.0], peak, peak, ["numpy"])


@pytest.mark.parametrize(
    ("first", "other", "met"),
    [
        ((0.48, 149), (0.95, 199), (True, True)),
        ((0.52, 149), (1.05, 199), (False, False)),
        ((0.48, 151), (0.48, 201), (False, False)),
        ((0.48, 149), (0.97, 100), (True, False)),
    ],
)
def test_the_targets(first: tuple[float, float], other: tuple[float, float], met: tuple[bool, bool]) -> None:
    """Below 0.5 s and 150 MB; the others below twice the first's time and 200 MB."""
    one, two = [start(*first)] * 3, [start(*other)] * 3
    assert (cold_start.told(one, one)[1], cold_start.told(two, one)[1]) == met


def test_medians_and_the_highest_peak() -> None:
    starts = [start(0.2, 100), start(0.4, 130), start(9.0, 100)]  # one start was disturbed
    lines, met = cold_start.told(starts, starts)
    assert met
    assert lines[0].startswith("to the first decision: 0.400 s (below 0.500: met)")
    assert "peak 130 MB, steady 100" in lines[2]


def test_cold_starts_of_a_served_folder(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(served / "small-int8")
    found = cold_start.measure([folder], 1)
    assert len(found[folder]) == 1
    (one,) = found[folder]
    assert one.whole > sum(one.wall) > 0
    assert len(one.processor) == len(cold_start.PARTS)
    assert 20 < one.steady_mb <= one.peak_mb < 1000
    assert {"numpy", "onnxruntime", "tokenizers"} <= set(one.packages)
    assert not {"torch", "transformers", "pydantic", "onnx", "json", "core"} & set(one.packages)


def test_a_folder_that_does_not_open_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"could not be opened in a fresh process: .* is not one of our checkpoints"):
        cold_start.start(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["cold_start", str(tmp_path), "--times", "0"])
    with pytest.raises(SystemExit, match="2"):
        cold_start.main()
