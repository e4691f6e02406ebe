"""eval.compare: differences, tests, flips and ratios that can be counted by hand, from reports alone."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from report_factory import SEED, make_calls, make_probability, make_report, make_rows
from rich.console import Console
from scipy.stats import binomtest

from core.errors import UserError
from core.rows import Rows, text_hash
from eval import kept
from eval.compare import default_folder, main, names
from eval.comparing.alignment import alignment
from eval.comparing.comparable import noisy
from eval.comparing.comparison import Side, compare
from eval.comparing.page import code, print_comparison, to_markdown
from eval.comparing.separate_runs import latency_ratio
from eval.comparing.words import sentence, word
from eval.kept import Calls
from eval.metrics import bootstrap
from eval.report import read
from eval.schema import SYNTHETIC
from eval.schema.comparison import Change, Comparison, Peer

ROWS = make_rows()  # 40 attacks, then 60 benign texts
WRONG_A, WRONG_B = [0, 1, 50], [0, 2, 3, 5, 60, 61, 70]
PROBABILITY_A, PROBABILITY_B = make_probability(ROWS, WRONG_A), make_probability(ROWS, WRONG_B, 1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The baseline, a peer whose rows stand in another order, and one that is the baseline again."""
    folder = tmp_path_factory.mktemp("reports")
    order = np.random.default_rng(1).permutation(len(ROWS))
    make_report(folder / "a", ROWS, PROBABILITY_A, size_mb=24.0)
    make_report(folder / "b", ROWS.take(order), PROBABILITY_B[order], milliseconds=3.0, size_mb=12.0)
    make_report(folder / "again", ROWS, PROBABILITY_A, milliseconds=None, cpu="another processor")
    return folder / "a", folder / "b", folder / "again"


@pytest.fixture(scope="module")
def compared(folders: tuple[Path, Path, Path]) -> Comparison:
    return compare(side(folders[0]), [side(folders[1]), side(folders[2])], repeats=300)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Call the entry point with arguments; gives the exit status."""

    def call(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code

    return call


def side(folder: Path) -> Side:
    return Side(folder.name, read(folder), kept.read(folder))


def test_figures_are_those_of_the_reports_whatever_the_order(
    compared: Comparison, folders: tuple[Path, Path, Path]
) -> None:
    before, after = read(folders[0]).accuracy, read(folders[1]).accuracy
    changes = compared.peers[0].figures
    assert set(changes) > {"binary_f1", "false_positive_rate", "family_f1", "auroc", "average_precision"}
    for name, change in changes.items():
        assert change.before == pytest.approx(getattr(before, name), abs=1e-12)
        assert change.after == pytest.approx(getattr(after, name), abs=1e-12)
        assert change.difference == pytest.approx(getattr(after, name) - getattr(before, name), abs=1e-12)
    assert (compared.rows, compared.attacks, compared.benign, compared.clusters) == (100, 40, 60, 50)
    assert compared.seed == SEED


def test_the_interval_is_a_paired_bootstrap_over_clusters(compared: Comparison) -> None:
    """Both figures counted anew in each resample, drawn once for both."""
    weights = bootstrap.resample(ROWS.labels, ROWS.groups, 300, SEED).astype(float)
    attack, gaps = ROWS.labels == 1, []
    for often in weights:
        f1 = []
        for probability in (PROBABILITY_A, PROBABILITY_B):
            said = probability >= 0.5
            f1.append(2 * often[attack & said].sum() / (often[attack].sum() + often[said].sum()))
        gaps.append(f1[1] - f1[0])
    change = compared.peers[0].figures["binary_f1"]
    assert change.interval == pytest.approx(np.percentile(gaps, (2.5, 97.5)))
    assert change.p_value == pytest.approx(2 * (1 + np.sum(np.array(gaps) >= 0)) / 301)


def test_mcnemar_counts_the_texts_that_one_alone_decides_rightly(compared: Comparison) -> None:
    """Wrong in A alone: attack 1 and benign 50; in B alone: attacks 2, 3, 5 and benign 60, 61, 70."""
    tests = compared.peers[0].mcnemar
    counts = {name: (test.only_before_right, test.only_after_right) for name, test in tests.items()}
    assert counts == {"all": (6, 2), "attacks": (3, 1), "benign": (3, 1)}
    assert tests["all"].p_value == pytest.approx(binomtest(6, 8).pvalue)


def test_flips_name_every_text_most_confident_first(compared: Comparison) -> None:
    flips = compared.peers[0].flips
    numbers = {kind: {ROWS.texts.index(flip.text) for flip in texts} for kind, texts in flips.items()}
    assert numbers == {
        "now caught": {1}, "now missed": {2, 3, 5}, "new false alarm": {60, 61, 70}, "false alarm gone": {50},
    }  # fmt: skip
    for texts in flips.values():
        assert [abs(flip.after - 0.5) for flip in texts] == sorted((abs(f.after - 0.5) for f in texts), reverse=True)
    missed = flips["now missed"][0]
    index = ROWS.texts.index(missed.text)
    assert (missed.before, missed.after) == (PROBABILITY_A[index], PROBABILITY_B[index])
    assert (missed.text_hash, missed.family) == (text_hash(missed.text), ROWS.families[index])


def test_families_and_sources_change_as_counted(compared: Comparison) -> None:
    """JB holds attacks 0, 2, 4, … (A misses 0; B misses 0 and 2), PI the odd ones (A misses 1; B 3 and 5)."""
    jb, pi, benign = (compared.peers[0].per_family[name] for name in ("JB", "PI", "BENIGN"))
    assert (jb.before.recall, jb.after.recall, jb.recall_difference) == (0.95, 0.9, pytest.approx(-0.05))
    assert (jb.now_right, jb.now_wrong) == (0, 1)
    assert (pi.now_right, pi.now_wrong) == (1, 2)
    assert jb.false_positive_rate_difference is None
    assert benign.false_positive_rate_difference == pytest.approx(2 / 60)
    web = compared.peers[0].per_source["web"]  # attacks 0, 2, …, and benign 41, 43, … of the rows
    assert (web.now_right, web.now_wrong) == (0, 2)


def test_the_same_predictions_differ_in_nothing(compared: Comparison) -> None:
    same = compared.peers[1]
    assert {change.difference for change in same.figures.values()} == {0.0}
    assert {change.p_value for change in same.figures.values()} == {1.0}
    assert not any(same.flips.values())
    assert sentence(compared, same).endswith("no difference shown.")


def test_holm_adjusts_over_the_peers(compared: Comparison, folders: tuple[Path, Path, Path]) -> None:
    """Of two p-values, the other being 1, Holm doubles the smaller; alone it stays."""
    alone = compare(side(folders[0]), [side(folders[1])], repeats=300).peers[0]
    for name, change in compared.peers[0].figures.items():
        assert change.p_value is not None
        assert change.p_value == alone.figures[name].p_value == alone.figures[name].adjusted_p_value
        assert change.adjusted_p_value == pytest.approx(min(2 * change.p_value, 1))
    test = compared.peers[0].mcnemar["all"]
    assert test.adjusted_p_value == pytest.approx(2 * test.p_value)
    assert "Holm" in to_markdown(compared, 20)


def test_a_real_difference_is_called_by_its_name(tmp_path: Path) -> None:
    make_report(tmp_path / "a", ROWS, make_probability(ROWS, range(0, 40, 2)), milliseconds=None)
    make_report(tmp_path / "b", ROWS, make_probability(ROWS), milliseconds=None)
    there = compare(side(tmp_path / "a"), [side(tmp_path / "b")], repeats=200)
    back = compare(side(tmp_path / "b"), [side(tmp_path / "a")], repeats=200)
    assert sentence(there, there.peers[0]).endswith(": better.")
    assert sentence(back, back.peers[0]).endswith(": worse.")


def test_less_is_better_for_error_rates() -> None:
    fell = Change(before=0.2, after=0.1, difference=-0.1, interval=(-0.2, -0.05), p_value=0.01, adjusted_p_value=0.01)
    assert (word("false_positive_rate", fell), word("binary_recall", fell)) == ("better", "worse")
    several = fell.model_copy(update={"adjusted_p_value": 0.06})
    assert word("binary_recall", several) == "no difference shown"


def test_benign_texts_alone_are_compared_by_their_false_alarms(tmp_path: Path) -> None:
    rows = make_rows(0, 30)
    for name, wrong in (("a", [1]), ("b", [1, 2, 3])):
        make_report(tmp_path / name, rows, make_probability(rows, wrong), milliseconds=None)
    found = compare(side(tmp_path / "a"), [side(tmp_path / "b")], repeats=200)
    changes = found.peers[0].figures
    assert changes["binary_f1"].difference is changes["auroc"].p_value is None
    assert changes["false_positive_rate"].difference == pytest.approx(2 / 30)
    assert set(found.peers[0].mcnemar) == {"all", "benign"}
    assert "FPR 0.0333 -> 0.1000, +0.0667" in sentence(found, found.peers[0])
    assert "| F1 |" not in to_markdown(found, 20)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (ROWS.take(range(90)), r"10 only in a \(test, 100 texts\), 0 only in b \(validation, 90 texts\)"),
        (replace(ROWS, texts=("other", *ROWS.texts[1:])), "1 only in a .*, 1 only in b "),
        (replace(ROWS, labels=np.r_[0, ROWS.labels[1:]]), "1 texts have another label in b .* is 1 in a and 0 in b"),
        (replace(ROWS, families=("PI", *ROWS.families[1:])), "another family in b .* is 'JB' in a and 'PI' in b"),
    ],
)
def test_other_texts_or_labels_are_refused(other: Rows, message: str) -> None:
    with pytest.raises(UserError, match=message):
        alignment(ROWS, other, ("a", "b"), ("test", "validation"))


def test_predictions_of_another_report_are_refused(folders: tuple[Path, Path, Path]) -> None:
    mixed = Side("mixed", read(folders[0]), kept.read(folders[1]))
    with pytest.raises(UserError, match="kept beside mixed are not those that its report was made of"):
        compare(side(folders[0]), [mixed], repeats=100)


def test_a_text_that_stands_twice_meets_its_equal() -> None:
    rows = ROWS.take([0, 50, 0, 1])
    shuffled = rows.take([3, 2, 1, 0])
    place = alignment(rows, shuffled, ("a", "b"), ("test", "test"))
    assert sorted(place.tolist()) == [0, 1, 2, 3]
    assert [shuffled.texts[index] for index in place] == list(rows.texts)


def test_latency_ratios_in_milliseconds_and_in_reference_workloads() -> None:
    """Every call and every run of the workload twice as long: a ratio of 2 that the machine explains wholly."""
    before = make_calls(len(ROWS), 2.0)
    order = np.random.default_rng(3).permutation(len(ROWS))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))  # row i of the first is row place[i] of the second
    stages = {name: times * 2 for name, times in before.stages.items()}
    after = Calls(place[before.row], stages, before.reference * 2, threads=1)
    found = latency_ratio(before, after, place, 200, 0, None)
    assert (found.p50.before, found.p50.after) == pytest.approx(
        tuple(np.median(c.total) / 1e6 for c in (before, after))
    )
    assert found.p95.before == pytest.approx(np.percentile(before.total, 95) / 1e6)
    assert (found.p50.ratio, found.p95.ratio, found.reference.ratio) == pytest.approx((2, 2, 2))
    # The same texts are drawn for both, so nothing is left to chance; the workloads are drawn apart.
    assert found.p50.interval == found.p95.interval == pytest.approx((2, 2))
    assert (found.p50_normalised.ratio, found.p95_normalised.ratio) == pytest.approx((1, 1))
    assert found.p50_normalised.interval is not None
    assert found.p50_normalised.interval[0] < 1 < found.p50_normalised.interval[1]
    assert "separate runs" in found.caution


def test_costs_are_compared_only_on_the_same_machine(compared: Comparison, tmp_path: Path) -> None:
    peer, untimed = compared.peers
    assert peer.size_mb.ratio == 0.5
    assert peer.latency is not None
    assert peer.latency.p50.ratio == pytest.approx(1.5, abs=0.05)
    assert untimed.latency is None
    assert untimed.latency_reason is not None
    assert "was not timed" in untimed.latency_reason
    for name, cpu, threads in (("a", "x", 1), ("cpu", "y", 1), ("threads", "x", 2)):
        make_report(tmp_path / name, cpu=cpu, threads=threads)
    found = compare(side(tmp_path / "a"), [side(tmp_path / "cpu"), side(tmp_path / "threads")], repeats=100)
    assert [one.latency for one in found.peers] == [None, None]
    assert str(found.peers[0].latency_reason).startswith("timed on other hardware: x, 2 cores; then y")
    assert found.peers[1].latency_reason == "timed with 1 thread(s), then with 2"


def test_a_noisy_run_is_named(tmp_path: Path) -> None:
    quiet, loud = make_report(tmp_path / "a"), make_report(tmp_path / "b", model_id="loud")
    assert noisy(quiet, quiet) is None
    assert loud.latency is not None
    noise = loud.latency.noise.model_copy(update={"trusted": False, "sentence": "it wavered"})
    loud = loud.model_copy(update={"latency": loud.latency.model_copy(update={"noise": noise})})
    assert noisy(loud, quiet) == "the machine wavered under loud (report): it wavered"
    found = compare(side(tmp_path / "a"), [replace(side(tmp_path / "b"), report=loud)], repeats=100)
    assert found.peers[0].latency is not None
    assert found.peers[0].latency.caution.endswith("it wavered")


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    evil = "``` ![x](http://evil/x.png) <script>alert(1)</script>\n# head \x1b[2J[red]"
    rows = replace(ROWS, texts=(evil, *ROWS.texts[1:]), families=("[red]JB|\x1b[2J", *ROWS.families[1:]))
    make_report(tmp_path / "a", rows, make_probability(rows, [0]), milliseconds=None, synthetic=True)
    make_report(tmp_path / "b", rows, make_probability(rows), milliseconds=None, synthetic=True)
    found = compare(side(tmp_path / "a"), [side(tmp_path / "b")], repeats=100)
    page = to_markdown(found, 20)
    line = next(line for line in page.splitlines() if "evil" in line)
    assert line.endswith("```` ``` ![x](http://evil/x.png) <script>alert(1)</script> # head ?[2J[red] ````")
    stream = io.StringIO()
    print_comparison(found, Console(file=stream, width=120))
    assert "\x1b[2J" not in stream.getvalue()
    assert "[red]JB|?[2J" in stream.getvalue()
    assert f"> **{SYNTHETIC}**" in page
    assert SYNTHETIC in stream.getvalue()


def test_long_texts_are_cut_on_the_page() -> None:
    assert code("a" * 501) == "` " + "a" * 500 + "… `"
    assert code("a" * 500) == "` " + "a" * 500 + " `"


def test_contradictions_are_refused(compared: Comparison) -> None:
    peer = compared.peers[0].model_dump(mode="json")
    lacking = {**peer, "flips": {**peer["flips"], "now missed": []}}
    with pytest.raises(ValidationError, match=r"mcnemar\.attacks lost is 3.0, but the counts give 0|attacks lost is 3"):
        Peer.model_validate(lacking)
    with pytest.raises(ValidationError, match="either there is a ratio of latencies or a reason"):
        Peer.model_validate({**peer, "latency": None})


def test_the_command_writes_both_files(
    folders: tuple[Path, Path, Path], tmp_path: Path, door: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(folders[0] / "report.json", folders[1], "--flips", "1", "--output", tmp_path / "out") == 0
    found = Comparison.model_validate_json((tmp_path / "out" / "comparison.json").read_bytes())
    assert (found.repeats, found.baseline, [peer.name for peer in found.peers]) == (2000, "a", ["b"])
    assert len(found.peers[0].flips["now missed"]) == 3
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert "**now missed**: 3 texts, the 1 most confident\n\n- " in page
    assert sum(line.startswith("- 0.") for line in page.splitlines()) == 4  # one of each kind
    printed = capsys.readouterr().out
    assert "b against a: F1 0.9620 -> 0.9114" in " ".join(printed.split())
    assert str(tmp_path / "out" / "comparison.json") in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["comparison.json", "comparison.md"]


def test_the_command_refuses_in_a_sentence(
    folders: tuple[Path, Path, Path], tmp_path: Path, door: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    make_report(tmp_path / "bare")
    (tmp_path / "bare" / "predictions.parquet").unlink()
    make_report(tmp_path / "older")
    old = json.loads((tmp_path / "older" / "report.json").read_text()) | {"schema_version": 1}
    (tmp_path / "older" / "report.json").write_text(json.dumps(old))
    make_report(tmp_path / "other", make_rows(20, 20), split="validation")
    for wrong, message in (
        ("bare", "predictions.parquet"), ("older", "version"), ("other", "different texts"), ("none", "cannot read"),
    ):  # fmt: skip
        assert door(folders[0], tmp_path / wrong, "--output", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
    assert door(folders[0], folders[0]) == 2
    assert "is given twice" in capsys.readouterr().err
    assert door(folders[0], folders[1], "--flips", "-1") == 2
    assert door(folders[0]) == 2


def test_names_tell_the_reports_apart(tmp_path: Path) -> None:
    assert names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert names([tmp_path / "x" / "a", tmp_path / "y" / "a"]) == ["x/a", "y/a"]
    assert default_folder(tmp_path / "y" / "a", ["x/a", "y/a"]) == tmp_path / "y" / "comparisons" / "x-a-against-y-a"
    assert default_folder(tmp_path / "b", ["a", "b", "c"]).name == "a-against-b-and-c"
    assert len(default_folder(tmp_path / "b", ["a" * 200, "b" * 200, "c" * 200]).name) < 255


def test_no_model_library_is_loaded(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    program = (
        "import sys\nfrom eval.compare import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print('LOADED', [name for name in ('torch', 'onnxruntime', 'transformers') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, *map(str, folders[:2]), "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout
