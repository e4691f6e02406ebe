"""What judged texts share with training texts, on examples to count by hand and against plain sets of words."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import numpy as np
import pytest

from core.errors import UserError
from core.rows import Rows
from eval import overlap as module
from eval.overlap import near_duplicates, overlap, shingles

TEN = "one two three four five six seven eight nine ten"  # eight shingles


def rows(texts: Sequence[str], groups: Sequence[str] | None = None) -> Rows:
    n = len(texts)
    same = ("x",) * n
    return Rows(tuple(texts), np.zeros(n, np.int64), same, same, tuple(groups or map(str, range(n))), same)


def jaccard(text: str, other: str) -> float:
    """The definition, on sets of triples of words (no script without spaces)."""
    sets = []
    for words in (re.findall(r"\w+", text) or [text], re.findall(r"\w+", other) or [other]):
        sets.append(set(zip(words, words[1:], words[2:], strict=False)) if len(words) > 2 else {tuple(words)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_shared_texts_groups_and_fingerprints_are_counted() -> None:
    training = rows([f"{TEN} {TEN}", "nothing alike"], ["a", "b"])
    judged = rows([f"{TEN.upper()}, {TEN}!", "Nothing, alike?", "all new", "all other"], ["b", "b", "c", "d"])
    found = overlap(judged, training, "f1", "f1")
    assert (found.training_rows, found.training_fingerprint, found.same_training_rows) == (2, "f1", True)
    assert (found.exact, found.near, found.near_similarity, found.same_group) == (0, 2, 0.8, 2)
    assert overlap(judged, training, "f1", "f2").same_training_rows is False
    assert overlap(judged, training, "f1", None).same_training_rows is None


def test_a_learnt_text_is_refused_however_it_is_written() -> None:
    training = rows(["Ｄｏ  it\nnow", "x" * 80])
    with pytest.raises(UserError, match=r"^1 of the 2 judged texts stand in the training rows, the first 'do IT now'"):
        overlap(rows(["new", "do  IT now"]), training, "f", None)
    with pytest.raises(UserError, match=rf"^2 of the 2 .* the first '{'X' * 59}…': .*data\.on_leak=drop"):
        overlap(rows(["X" * 80, "do it now"]), training, "f", None)
    with pytest.raises(UserError, match="stand in the training rows"):
        overlap(rows(["seen without a label"]), training, "f", None, ["Seen  without a label"])


@pytest.mark.parametrize(
    ("text", "other", "near"),
    [
        (TEN, TEN.replace(" ", ", ") + "!", True),  # punctuation is no word
        (f"{TEN} eleven twelve", f"zero {TEN} eleven twelve", True),  # 10 of 11
        (f"{TEN}", f"{TEN} a b", True),  # 8 of 10: on the limit
        (f"{TEN}", f"{TEN} a b c", False),  # 8 of 11
        (TEN, TEN.replace("five", "5"), False),  # 5 of 11
        ("a b c d e f", "d e f a b c", False),  # the order counts: 2 of 6
        ("a b c a b c a b c", "a b c a b c", True),  # a set: how often makes no difference
        ("two words", "two, words!", True),
        ("two words", "words two", False),
        ("word", "words", False),
        ("!!!", "!!!?", False),  # without a word it is its own only word
        ("हिन्दी में लिखा", "हिन्दी में, लिखा!", True),
    ],
)
def test_near_means_four_fifths_of_the_runs_of_three_words(text: str, other: str, near: bool) -> None:
    assert near_duplicates([text], [other]).tolist() == [near]
    assert near_duplicates([other], [text]).tolist() == [near]
    assert near == (jaccard(text, other) >= 0.8)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (TEN, 8),
        ("", 1),
        ("a", 1),
        ("a b", 1),
        ("a b c", 1),
        ("a a a a a", 1),
        ("忽略之前的指令", 5),
        ("すべての指示を", 5),
        ("ตอบฉัน", 4),
        ("무시해 이전 지시 를", 2),  # Korean has spaces
        ("abc忽略def", 2),  # abc 忽 略 def
    ],
)
def test_each_character_of_a_script_without_spaces_is_a_word(text: str, count: int) -> None:
    assert len(shingles(text)) == count


def test_all_pairs_are_as_plain_sets_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the definition, in pieces so small that both sides are cut."""
    random_words = random.Random(5)
    others = [" ".join(random_words.choices("abcdefgh", k=random_words.randrange(1, 40))) for _ in range(120)]
    texts = []
    for text in others[:80]:
        words = text.split()
        for _ in range(random_words.randrange(3)):
            words[random_words.randrange(len(words))] = random_words.choice("abcdefghij")
        texts.append(" ".join([*words, *random_words.choices("xyz", k=random_words.randrange(4))]))
    expected = [max(jaccard(text, other) for other in others) >= 0.8 for text in texts]
    assert 20 < sum(expected) < 60
    assert near_duplicates(texts, others).tolist() == expected
    monkeypatch.setattr(module, "PAIRS", 7 * len(texts))
    assert near_duplicates(texts, others).tolist() == expected
    monkeypatch.setattr(module, "TEXTS", 1)
    assert near_duplicates(texts, others).tolist() == expected


def test_the_similarity_may_be_another_and_sets_may_be_empty() -> None:
    assert near_duplicates([TEN, "other"], [TEN.replace("ten", "10")], similarity=7 / 9).tolist() == [True, False]
    assert near_duplicates([TEN], [TEN.replace("ten", "10")]).tolist() == [False]
    assert near_duplicates([], ["a"]).tolist() == []
    assert near_duplicates(["a"], []).tolist() == [False]
