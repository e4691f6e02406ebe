"""core.first_layer, core.sureness and distill.triggers.score_card, against sums by hand and on the tiny corpus."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from core import first_layer
from core.data import Corpus
from core.errors import UserError
from core.first_layer import FirstLayer, SureLayer
from core.phrases import READ_CHARACTERS
from core.rows import Taxonomy
from core.schema import Triggers
from core.sureness import LEAST, Setting, choose
from distill.triggers import score_card
from distill.triggers.score_card import telling

TAXONOMY = Taxonomy(("JB", "PI"), ("direct", "role"), "BENIGN", "benign", {"direct": "PI", "role": "JB"})
LAYER = FirstLayer(
    -1.0,
    {"ignore": 2.0, "ignore all": 3.0, "dan": 1.5, "please": -2.5, "thank you": -1.0, "forget … rules": 4.0},
    {"ignore": ("PI", "direct"), "ignore all": ("PI", "direct"), "dan": ("JB", "role")},
    {"careful": Setting(-3.0, 3.0, 0.005, 0.0005), "eager": Setting(-2.0, 1.0, 0.02, 0.002)},
)


def log_odds(text: str) -> float:
    return LAYER.log_odds(LAYER.terms(text))


def judge(text: str, setting: str = "careful") -> float | None:
    scores = SureLayer(LAYER, LAYER.settings[setting], TAXONOMY).judge(text)
    return None if scores is None else float(scores.attack[0])


def test_a_text_is_the_sum_of_what_it_holds() -> None:
    assert log_odds("") == -1.0
    assert log_odds("Ignore ALL of it, ignore it") == pytest.approx(-1 + 2 + 3)  # each once
    assert log_odds("ignore it all") == pytest.approx(-1 + 2)  # no neighbours
    assert LAYER.terms("Please, thank you!") == {"please", "thank you"}
    assert log_odds("Please, thank you!") == pytest.approx(-4.5)


def test_a_pattern_has_one_to_three_words_between() -> None:
    for between, held in (("", False), ("the", True), ("all of your", True), ("all of your own", False)):
        assert ("forget … rules" in LAYER.terms(f"Forget {between} rules!")) is held, between
    assert log_odds("forget all rules, forget the rules") == pytest.approx(-1 + 4)


def test_it_decides_what_it_is_sure_of() -> None:
    assert judge("ignore all") == pytest.approx(1 / (1 + math.exp(-4)))
    assert judge("ignore it") is None
    assert judge("please, thank you") == pytest.approx(1 / (1 + math.exp(4.5)))
    assert judge("please") == pytest.approx(1 / (1 + math.exp(3.5)))
    assert judge("ignore it", "eager") == pytest.approx(1 / (1 + math.exp(-1)))
    scores = SureLayer(LAYER, LAYER.settings["careful"], TAXONOMY).judge_all(["ignore all", "x"])
    assert scores[0] is not None
    assert scores[1] is None


def test_no_text_is_benign_that_was_not_read_to_its_end() -> None:
    filler = "please " + " " * (READ_CHARACTERS - len("please "))
    assert judge(filler) is not None
    assert judge(f"{filler}ignore all") is None
    assert judge(f"ignore all {'x' * READ_CHARACTERS}") is not None  # what stands behind makes no attack undone


def test_what_speaks_for_an_attack_names_its_kind() -> None:
    scores = SureLayer(LAYER, LAYER.settings["careful"], TAXONOMY).judge("ignore all, dan")
    assert scores is not None
    np.testing.assert_allclose(scores.family, [[1.5 / 6.5, 5 / 6.5]], atol=1e-5)  # JB, PI
    np.testing.assert_allclose(scores.subfamily, [[5 / 6.5, 1.5 / 6.5]], atol=1e-5)  # direct, role


def test_no_text_is_too_much() -> None:
    assert judge("ignore all " * 100_000) == pytest.approx(1 / (1 + math.exp(-4)))
    assert judge("\ud83d\0 忽略") is None


def test_round_trip(tmp_path: Path) -> None:
    first_layer.save(tmp_path, LAYER)
    back = first_layer.read(tmp_path, "eager", TAXONOMY)
    assert back == SureLayer(LAYER, LAYER.settings["eager"], TAXONOMY)
    assert json.loads((tmp_path / first_layer.FILE).read_text())["rules"]["dan"] == [1.5, "JB", "role"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no first_layer\.json for serving\.first_layer careful"):
        first_layer.read(tmp_path, "careful", TAXONOMY)
    first_layer.save(tmp_path, LAYER)
    with pytest.raises(UserError, match="has no setting balanced, but careful, eager"):
        first_layer.read(tmp_path, "balanced", TAXONOMY)
    other = Taxonomy(("PI",), ("direct",), "BENIGN", "benign", {"direct": "PI"})
    with pytest.raises(UserError, match="speaks of JB"):
        first_layer.read(tmp_path, "careful", other)
    for content in ("{", "[]", '{"rules": {}}', '{"bias": 0, "rules": {"x": []}, "settings": {}}'):
        (tmp_path / first_layer.FILE).write_text(content)
        with pytest.raises(UserError, match="cannot be read as a first layer"):
            first_layer.read(tmp_path, "careful", TAXONOMY)


def test_the_limits_give_up_no_more_than_was_allowed() -> None:
    odds = np.concatenate([np.arange(-5, 95), -np.arange(-5, 95)]).astype(float)  # attacks, then benign texts
    labels = np.repeat([1, 0], 100)
    found = choose(odds, labels, (0.01, 0.03, 0.5), (0.0, 0.02, 0.5), ("a", "b", "c"))
    assert [(odds[labels == 1] <= found[name].benign_at).sum() for name in "ab"] == [1, 3]
    assert [(odds[labels == 0] >= found[name].attack_at).sum() for name in "ab"] == [0, 2]
    assert (found["c"].benign_at, found["c"].attack_at) == (-LEAST, LEAST)  # a verdict must be one at 0.5 too
    assert found["a"].decides(found["a"].benign_at, whole=True)
    assert not found["a"].decides(found["a"].benign_at, whole=False)
    assert found["a"].decides(found["a"].attack_at, whole=False)
    assert not found["a"].decides(0.0, whole=True)


def test_a_miss_that_ties_with_many_is_no_license() -> None:
    odds = np.array([-4.0] * 50 + [3.0] * 50 + [-4.0] * 100)
    labels = np.repeat([1, 0], 100)
    setting = choose(odds, labels, (0.01,), (0.01,), ("only",))["only"]
    assert not ((odds <= setting.benign_at) & (labels == 1)).any()


def test_what_tells_attacks_apart_by_hand() -> None:
    present = csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], float))
    statistic = telling(present, np.array([1, 1, 0, 0]))
    assert statistic[0] == pytest.approx(2 * 4 * math.log(2))  # four cells that are 2 or 0 instead of 1
    assert statistic[1] == pytest.approx(0)
    assert statistic[2] == pytest.approx(0)


def test_learned_on_the_tiny_corpus(tiny_corpus: Corpus) -> None:
    train, validation = tiny_corpus.splits["train"], tiny_corpus.splits["validation"]
    layer = score_card.learn(train, Triggers(rules=40, misses=(0.01, 0.02, 0.1), alarms=(0.01, 0.02, 0.1)))
    assert len(layer.weights) == 40
    assert layer.weights["ignore all"] > 0 > min(layer.weights.values())
    assert layer.kinds["ignore all"][0] == "PI"
    assert any(" … " in term for term in layer.weights)
    assert list(layer.settings) == ["careful", "balanced", "eager"]
    odds = np.array([layer.log_odds(layer.terms(text)) for text in validation.texts])
    assert odds[validation.labels == 1].min() > odds[validation.labels == 0].max()


def test_it_reads_what_it_was_fitted_on(tiny_corpus: Corpus) -> None:
    """The terms of a text are the same to the layer that is served as to the learner."""
    train = tiny_corpus.splits["train"]
    ends = score_card._ends(train, 1)
    every = {term for text in train.texts for term in score_card._terms(text, ends)}
    layer = FirstLayer(0.0, dict.fromkeys(every, 1.0), {}, {})
    for text in train.texts[:200]:
        assert layer.terms(text) == score_card._terms(text, ends)


def test_folds_keep_near_duplicates_together(tiny_corpus: Corpus) -> None:
    """A template is in one fold, so its own words cannot have been learned from its twins."""
    train = tiny_corpus.splits["train"]
    from sklearn.feature_extraction.text import CountVectorizer

    present = CountVectorizer(binary=True, dtype=np.float64).fit_transform(train.texts)
    out = score_card.cross_fitted(present, train, Triggers(rules=60))
    inside = score_card.fit_card(present, train.labels, 60).log_odds(present)
    correct = np.where(train.labels == 1, 1, -1)
    assert (out * correct).mean() < (inside * correct).mean()
