"""eval.fidelity: what a student keeps of its teacher, against values by hand, scipy, and a copy of itself."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from report_factory import make_answers, make_probability, make_rows
from rich.console import Console
from scipy import stats

from core.data import Corpus
from core.ensemble import EnsembleEncoder
from core.errors import UserError
from core.pipeline import open_pipeline
from core.rows import Rows, text_hash
from core.schema import Evaluation, Experiment
from eval import fidelity as entry
from eval.comparing import agreeing, fidelity_page, geometry
from eval.comparing.fidelity import embedded, fidelity
from eval.kept import Answers
from eval.metrics import bootstrap, likeness
from eval.schema.fidelity import Agreement, Fidelity

ROWS = make_rows()  # 40 attacks, then 60 benign texts; two neighbours share a group
WRONG_TEACHER, WRONG_STUDENT = [0, 1, 50], [0, 2, 3, 5, 60, 61, 70]
TEACHER, STUDENT = make_probability(ROWS, WRONG_TEACHER), make_probability(ROWS, WRONG_STUDENT, 1)
SPACE = np.random.default_rng(5).normal(size=(100, 6)).astype(np.float32)
SPACE /= np.linalg.norm(SPACE, axis=1, keepdims=True)
REPEATS, SEED = 200, 3


class Given:
    """A model, and its encoder, that gives each text of `rows` what it was told."""

    def __init__(self, name: str, rows: Rows, probability: NDArray[np.float64], space: NDArray[np.float32]) -> None:
        self.model_id, self.folder, self.precision, self.encoder = name, Path("models") / name, "fake", self
        self.described = {"files": {"a": "0" * 64}}
        self.rows, self.probability, self.space, self.threads = rows, probability, space, 0

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> Answers:
        assert tuple(texts) == self.rows.texts
        return make_answers(self.rows, self.probability)

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        return self.space[[self.rows.texts.index(text) for text in texts]]

    def use_threads(self, threads: int) -> None:
        self.threads = threads


def measured(student: Given, teacher: Given, rows: Rows = ROWS) -> Fidelity:
    evaluation = Evaluation(split="test", bootstrap_repeats=REPEATS)
    names = (student.model_id, teacher.model_id)
    return fidelity(student, teacher, rows, evaluation, names=names, synthetic=True, provenance={"x": 1}, seed=SEED)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> Fidelity:
    turned = (SPACE + 0.3 * np.roll(SPACE, 1, axis=1)).astype(np.float32)
    return measured(Given("student|<b>", ROWS, STUDENT, turned), Given("teacher", ROWS, TEACHER, SPACE))


# Arithmetic


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_correlations_are_those_of_the_rows_repeated(decimals: int) -> None:
    generator = np.random.default_rng(decimals)
    first = generator.normal(size=80).round(decimals)  # with few decimals: many ties
    second = (first + generator.normal(size=80)).round(decimals)
    often = generator.integers(0, 4, size=80)
    repeated = np.repeat(first, often), np.repeat(second, often)
    weights = often.astype(np.float64)
    ranked = likeness.spearman(likeness.grades(first), likeness.grades(second), weights)
    assert ranked == pytest.approx(stats.spearmanr(*repeated).statistic)
    assert likeness.pearson(first, second, weights) == pytest.approx(stats.pearsonr(*repeated).statistic)


def test_what_does_not_vary_has_no_correlation() -> None:
    constant, rising = np.full(5, 0.1), np.arange(5.0)
    assert np.isnan(likeness.pearson(constant, rising, np.ones(5)))
    assert np.isnan(likeness.pearson(rising, rising, np.array([0, 0, 3.0, 0, 0])))  # one row alone, thrice
    assert np.isnan(likeness.spearman(likeness.grades(rising), likeness.grades(constant), np.ones(5)))
    assert np.isnan(likeness.pearson(rising, rising, np.zeros(5)))


def test_divergence_by_hand() -> None:
    apart = likeness.divergence([0.5, 0.25, 1.0, 0.0], [0.25, 0.25, 0.0, 0.0])
    assert apart[0] == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert apart[1] == apart[3] == 0
    assert apart[2] == pytest.approx(np.log(1e6), rel=1e-4)  # clipped, not infinite
    with pytest.raises(UserError):
        likeness.divergence([0.5], [0.5, 0.5])


def test_cosines_by_hand() -> None:
    first, second = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [-2.0, 0.0], [1.0, 1.0]])
    assert likeness.cosines(first, second) == pytest.approx([0.96, -1, 0])
    assert likeness.similarities(first) == pytest.approx(np.array([[1, 0.6, 0], [0.6, 1, 0], [0, 0, 0]]))
    with pytest.raises(UserError, match="one shape"):
        likeness.cosines(first, second[:, :1])


# Decisions and probabilities


def test_agreement_by_hand(found: Fidelity) -> None:
    """The teacher alone is wrong in attack 1 and benign 50, the student alone in attacks 2, 3, 5 and three benign."""
    counts = {
        name: (of.texts, of.both_right, of.only_teacher_right, of.only_student_right, of.both_wrong, of.flips)
        for name, of in found.decisions.items()
    }
    assert counts == {"all": (100, 91, 6, 2, 1, 8), "attacks": (40, 35, 3, 1, 1, 4), "benign": (60, 56, 3, 1, 0, 4)}
    everything = found.decisions["all"]
    assert everything.agreement.value == pytest.approx(0.92)
    assert everything.agreement.interval[0] < 0.92 < everything.agreement.interval[1] < 1
    assert everything.teacher_right_in_flips == pytest.approx(6 / 8)
    kinds = {kind: [ROWS.texts.index(flip.text) for flip in texts] for kind, texts in found.flips.items()}
    assert {kind: sorted(rows) for kind, rows in kinds.items()} == {
        "now caught": [1], "now missed": [2, 3, 5], "new false alarm": [60, 61, 70], "false alarm gone": [50],
    }  # fmt: skip


def test_figures_are_those_of_each_and_their_difference(found: Fidelity) -> None:
    recall, rate = found.figures["binary_recall"], found.figures["false_positive_rate"]
    assert (recall.before, recall.after) == (pytest.approx(38 / 40), pytest.approx(36 / 40))
    assert rate.difference == pytest.approx(3 / 60 - 1 / 60)
    assert found.teacher.accuracy.binary_recall == recall.before
    assert found.student.accuracy.false_positive_rate == rate.after


def test_the_share_kept_is_a_paired_ratio(found: Fidelity) -> None:
    weights = bootstrap.resample(ROWS.labels, ROWS.groups, REPEATS, SEED).astype(np.float64)
    attack, ratios = ROWS.labels == 1, []
    for often in weights:
        caught = [often[attack & (probability >= 0.5)].sum() for probability in (TEACHER, STUDENT)]
        ratios.append(caught[1] / caught[0])
    kept = found.kept["binary_recall"]
    assert kept is not None
    assert kept.value == pytest.approx(36 / 38)
    assert kept.interval == pytest.approx(np.percentile(ratios, (2.5, 97.5)))


def test_probabilities_are_compared_within_each_class(found: Fidelity) -> None:
    weights = bootstrap.resample(ROWS.labels, ROWS.groups, REPEATS, SEED)
    for name, here in (("all", ROWS.labels >= 0), ("attacks", ROWS.labels == 1), ("benign", ROWS.labels == 0)):
        of, pair = found.probabilities[name], (TEACHER[here], STUDENT[here])  # type: ignore[index]
        both_ways = ([one, 1 - one] for one in pair)
        assert of.spearman is not None
        assert of.spearman.value == pytest.approx(stats.spearmanr(*pair).statistic)
        gap = np.abs(pair[0] - pair[1])
        assert of.mean_absolute_difference.value == pytest.approx(gap.mean())
        assert of.divergence.value == pytest.approx(stats.entropy(*both_ways).mean())
        drawn = [np.repeat(np.arange(len(gap)), often) for often in weights[:, here]]
        ends = np.percentile([gap[rows].mean() for rows in drawn], (2.5, 97.5))
        assert of.mean_absolute_difference.interval == pytest.approx(ends)
        ranked = [stats.spearmanr(pair[0][rows], pair[1][rows]).statistic for rows in drawn]
        assert of.spearman.interval == pytest.approx(np.percentile(ranked, (2.5, 97.5)))


def test_no_flip_proves_no_perfect_agreement() -> None:
    weights = bootstrap.resample(ROWS.labels, ROWS.groups, REPEATS, SEED)
    said = TEACHER >= 0.5
    of = agreeing.agreements(ROWS.labels, said, said, weights)["all"]
    assert (of.flips, of.teacher_right_in_flips, of.agreement.value) == (0, None, 1.0)
    assert 0.95 < of.agreement.interval[0] < 0.97  # Wilson's for 100 of 100
    assert of.agreement.interval[1] == 1


# Embeddings


def compared(teacher: NDArray, student: NDArray, rows: Rows = ROWS) -> geometry.Embeddings:
    return geometry.geometry(rows, teacher, student, 100, SEED)


def test_a_turned_space_keeps_every_similarity_and_no_cosine() -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))
    of = compared(SPACE, SPACE @ rotation.astype(np.float32))
    assert of.similarities is not None
    assert of.cosine is not None
    for figure in (of.similarities.spearman, of.similarities.pearson):
        assert figure is not None
        assert (figure.value, *figure.interval) == pytest.approx((1, 1, 1), abs=1e-5)
    assert of.cosine.mean.value < 0.9
    assert of.similarities.teacher_mean == pytest.approx(of.similarities.student_mean, abs=1e-6)


def test_cosines_name_the_worst_text() -> None:
    student = SPACE.copy()
    student[17] *= -1
    cosine = compared(SPACE, student).cosine
    assert cosine is not None
    assert (cosine.worst, cosine.worst_text_hash) == (pytest.approx(-1), text_hash(ROWS.texts[17]))
    assert (cosine.worst_text, cosine.mean.value) == (ROWS.texts[17], pytest.approx(0.98))
    assert cosine.fifth_percentile.value == pytest.approx(1)
    assert cosine.mean.interval[0] < 0.98 <= cosine.mean.interval[1]


def test_unlike_widths_have_similarities_but_no_cosine() -> None:
    wider = np.pad(SPACE, ((0, 0), (0, 5)))
    of = compared(wider, SPACE)
    assert of.cosine is None
    assert of.cosine_reason == "not comparable: the student's embedding is 6 wide, the teacher's 11"
    assert of.similarities is not None
    assert of.similarities.spearman is not None
    assert of.similarities.spearman.value == pytest.approx(1)


def test_similarities_are_correlated_over_pairs_of_unlike_clusters() -> None:
    """Resample by resample with every text repeated, and a pair of a text with itself left out, it is the same."""
    rows, generator = ROWS.take(range(30, 50)), np.random.default_rng(4)
    teacher, student = SPACE[30:50], (SPACE[30:50] + generator.normal(size=(20, 6)) / 4).astype(np.float32)
    of = compared(teacher, student, rows).similarities
    assert of is not None
    assert of.spearman is not None
    assert of.pearson is not None
    assert of.pairs == 20 * 19 // 2 - 10  # ten groups of two
    first, second = likeness.similarities(teacher), likeness.similarities(student)
    drawn = []
    for often in [np.ones(20, int), *bootstrap.resample(rows.labels, rows.groups, 100, SEED)]:
        here = np.repeat(np.arange(20), often)
        pairs = [
            (first[i, j], second[i, j])
            for place, i in enumerate(here)
            for j in here[:place]
            if rows.groups[i] != rows.groups[j]
        ]
        drawn.append([stats.spearmanr(*zip(*pairs, strict=True)).statistic, np.corrcoef(np.transpose(pairs))[0, 1]])
    for column, figure in zip(np.transpose(drawn), (of.spearman, of.pearson), strict=True):
        assert figure.value == pytest.approx(column[0])
        assert figure.interval == pytest.approx(np.percentile(column[1:], (2.5, 97.5)))


def test_one_cluster_or_no_embedding_is_said_to_be_so() -> None:
    rows = make_rows(2, 2)  # two groups of two: four pairs
    assert compared(SPACE[:4], SPACE[:4], rows).similarities is not None
    few = compared(SPACE[:2], SPACE[:2], ROWS.take(range(2)))
    assert few.similarities is None
    assert few.similarities_reason is not None
    assert few.similarities_reason.startswith("0 pairs")
    assert few.cosine is not None
    none = compared(np.zeros((100, 0), np.float32), SPACE)
    assert none.cosine_reason == none.similarities_reason == "not comparable: the teacher has no embedding, only scores"


def test_the_sample_is_seeded_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert geometry.sample(ROWS, 1).texts == ROWS.texts
    monkeypatch.setattr(geometry, "MOST_TEXTS", 10)
    texts = [geometry.sample(ROWS, seed).texts for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert [ROWS.texts.index(text) for text in texts[0]] == sorted(ROWS.texts.index(text) for text in texts[0])
    assert len(set(texts[0])) == 10


def test_an_ensemble_is_compared_without_its_scores(tiny_checkpoint: Path, tiny_corpus: Corpus) -> None:
    member, texts = open_pipeline(tiny_checkpoint), tiny_corpus.splits["validation"].texts
    assert embedded(EnsembleEncoder([member]), texts) == pytest.approx(member.encoder.encode(texts), abs=1e-6)


# The whole


def test_a_model_keeps_all_of_itself() -> None:
    model = Given("model", ROWS, TEACHER, SPACE)
    of = measured(model, model)
    assert model.threads > 0
    assert all(change.difference == 0 for change in of.figures.values() if change.before is not None)
    for kept in of.kept.values():
        assert kept is not None
        assert (kept.value, kept.interval) == (1, (1, 1))
    assert of.decisions["all"].flips == sum(map(len, of.flips.values())) == 0
    for one in of.probabilities.values():
        assert one.spearman is not None
        assert (one.spearman.value, one.divergence.value, one.mean_absolute_difference.value) == (1, 0, 0)


def test_benign_texts_alone_say_nothing_of_f1() -> None:
    rows = ROWS.take(range(40, 100))
    student, teacher = (Given(name, rows, of[40:], SPACE[40:]) for name, of in (("s", STUDENT), ("t", TEACHER)))
    of = measured(student, teacher, rows)
    assert of.kept == {"binary_f1": None, "binary_recall": None}
    assert set(of.decisions) == set(of.probabilities) == {"all", "benign"}
    assert "s flags 5.00% of the benign texts, t 1.67%; decides 93.3%" in fidelity_page.words.sentence(of)
    fidelity_page.print_fidelity(of, Console(file=io.StringIO()))


def test_it_is_written_and_printed(found: Fidelity, tmp_path: Path) -> None:
    as_json, as_markdown = fidelity_page.write(found, tmp_path / "new")
    assert Fidelity.model_validate_json(as_json.read_text()) == found
    assert sorted(path.name for path in as_json.parent.iterdir()) == ["fidelity.json", "fidelity.md"]
    page = as_markdown.read_text()
    assert "<b>" not in page
    assert found.flips["now missed"][0].text in page
    console = Console(width=200, record=True, file=io.StringIO())
    fidelity_page.print_fidelity(found, console)
    shown = " ".join(console.export_text().split())  # lines are wrapped
    for text in (page.replace("&lt;", "<").replace("\\|", "|"), shown):
        assert "student|<b> keeps " in text
        assert "of the F1 of teacher (0.911 of 0.962); flags 5.00% of the benign texts, teacher 1.67%; " in text
        assert "synthetic: shows that the machinery works" in text
        assert "6 (75%)" in text
        assert "the teacher right in 75%" in text
        assert "Stanton et al. 2021" in text


@pytest.mark.parametrize(
    "wrong", [{"both_right": 90}, {"flips": 7}, {"teacher_right_in_flips": 0.5}, {"teacher_right_in_flips": None}]
)
def test_counts_that_contradict_are_refused(found: Fidelity, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="the counts give"):
        Agreement.model_validate({**found.decisions["all"].model_dump(), **wrong})


# The entry point


@pytest.fixture
def asked(data: dict[str, list[str]], tmp_path: Path) -> Callable[..., Experiment]:
    def experiment(checkpoint: Path | None, *peers: Path) -> Experiment:
        evaluation = Evaluation(peers=peers, bootstrap_repeats=100)
        output = tmp_path / "output"
        return Experiment(name="tiny", output=output, checkpoint=checkpoint, data=data, evaluation=evaluation)  # type: ignore[arg-type]

    return experiment


def test_from_folders_to_files(
    tiny_checkpoint: Path, asked: Callable[..., Experiment], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = tmp_path / "copy" / tiny_checkpoint.name
    shutil.copytree(tiny_checkpoint, teacher)
    assert entry.work(asked(tiny_checkpoint, teacher)) == 0
    folder = f"{tiny_checkpoint.parent.name}-tiny-against-copy-tiny-validation"
    written = tmp_path / "output" / "reports" / folder / "fidelity.json"
    of = Fidelity.model_validate_json(written.read_text())
    assert (of.rows, of.embeddings.texts, of.student.dimension) == (12, 12, 32)
    assert of.teacher.digest == of.student.digest
    assert of.embeddings.cosine is not None
    assert of.embeddings.cosine.worst == pytest.approx(1, abs=1e-5)
    assert of.provenance["fingerprints"]["validation"]
    assert str(written) in capsys.readouterr().out


def test_against_a_lexical_teacher(
    tiny_checkpoint: Path, asked: Callable[..., Experiment], data: dict[str, list[str]], tmp_path: Path
) -> None:
    from distill import lexical

    section = {"word_ngrams": [1, 2], "character_ngrams": [2, 4], "word_features": 60, "character_features": 150}
    whole = {"name": "tiny", "output": str(tmp_path), "data": data, "lexical": section}
    assert lexical.work(Experiment.model_validate(whole)) == 0
    assert entry.work(asked(tiny_checkpoint, tmp_path / "tfidf")) == 0
    written = tmp_path / "output" / "reports" / "tiny-against-tfidf-validation" / "fidelity.json"
    of = Fidelity.model_validate_json(written.read_text())
    assert of.embeddings.cosine_reason is not None
    assert f"the teacher's {of.teacher.dimension}" in of.embeddings.cosine_reason
    assert of.embeddings.similarities is not None
    assert of.embeddings.similarities.pairs == 66


def test_one_student_and_one_teacher(asked: Callable[..., Experiment], tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with pytest.raises(UserError, match=r"no teacher.*evaluation\.peers"):
        entry.work(asked(here))
    with pytest.raises(UserError, match=r"names 2 folders.*one teacher"):
        entry.work(asked(here, there, there))
    with pytest.raises(UserError, match="as student and as teacher"):
        entry.work(asked(here, tmp_path / "there" / ".." / "here"))
    with pytest.raises(UserError, match="checkpoint=FOLDER"):
        entry.work(asked(None, there))
    with pytest.raises(UserError, match="no checkpoint folder"):
        entry.work(asked(here, there))
    assert not (tmp_path / "output" / "reports" / "here-against-there-validation" / "fidelity.json").exists()


def test_long_names_are_cut(tmp_path: Path) -> None:
    folder = entry.fidelity_folder(tmp_path, "a/student", "t" * 300, "test")
    assert folder.name.startswith("a-student-against-ttt")
    assert len(folder.name.encode()) < 255
