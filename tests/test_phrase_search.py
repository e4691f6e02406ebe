"""core.phrase_search against a search word by word, and lines against what stood in them before."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from core.phrase_search import anywhere
from core.phrases import GAP, READ_CHARACTERS, WIDEST, line, words
from core.triggers import Trigger, TriggerMatcher

WORDS = ("ignore", "all", "rules", "rule", "don't", "a.c", "é", "the", "忽略")
SIGNS = "aB' \t\n’‘\u2003\u2028\u00a0\u0085\u212aÉİ.-_…\x1f\ud83d0"


def stands(phrase: Sequence[str], found: Sequence[str], place: int) -> bool:
    """Whether a phrase begins at a place, word by word."""
    if GAP not in phrase:
        return list(found[place : place + len(phrase)]) == list(phrase)
    behind = found[place + 2 : place + WIDEST + 2]
    return found[place] == phrase[0] and phrase[2] in behind


def test_every_place_is_found_and_no_other() -> None:
    generator = random.Random(5)
    phrases = [("ignore",), ("all", "rules"), ("the", GAP, "rules"), ("don't", "the", "all"), ("é", GAP, "忽略")]
    search = anywhere(" ".join(phrase) for phrase in phrases)
    for _ in range(300):
        found = generator.choices(WORDS, k=generator.randrange(12))
        read = "".join(" " * generator.randrange(1, 4) + word for word in found) + " "
        starts = [len(read[: match.start()].split()) for match in search.finditer(read)]
        wanted = [at for at in range(len(found)) if any(stands(phrase, found, at) for phrase in phrases)]
        assert starts == wanted, read


@pytest.mark.parametrize(("phrase", "text"), [("a.c", "abc"), ("rule", "rules"), ("all", "ball"), ("a b", "ab")])
def test_letters_stand_for_themselves_in_whole_words(phrase: str, text: str) -> None:
    search = anywhere([phrase])
    assert search.search(f" {phrase} ")
    assert not search.search(f" {text} ")


def test_nothing_is_found_where_nothing_is_sought() -> None:
    assert not anywhere([]).search("  ignore ")


def test_a_line_of_repeated_beginnings_is_over_soon() -> None:
    """Every word begins a pattern whose second word never comes: nothing is tried twice."""
    search = anywhere([f"a {GAP} never", f"a a {GAP} never"])
    assert not search.search(line("a " * READ_CHARACTERS))
    assert not search.search(line("a " + "b" * READ_CHARACTERS))


def by_definition(text: str) -> list[str]:
    """What a word is: runs of letters, digits and apostrophes between signs, without apostrophes at their ends."""
    lowered = text[:READ_CHARACTERS].lower().replace("’", "'").encode("utf-8", "replace").decode()
    kept = "".join(letter if letter.isalnum() or letter == "'" or letter == "\u0307" else " " for letter in lowered)
    return [bare for word in kept.split() if (bare := word.strip("'"))]


def test_words_by_definition() -> None:
    generator = random.Random(7)
    for _ in range(3000):
        text = "".join(generator.choices(SIGNS, k=generator.randrange(30)))
        assert words(text) == by_definition(text), repr(text)
        read = line(text)
        assert read[0] == read[-1] == " "
        assert not set(read) & set("\t\n\u2003\u2028\u00a0\u0085")


def test_triggers_of_a_text_are_those_found_word_by_word() -> None:
    generator = random.Random(3)
    phrases = ("ignore", "ignore all", "ignore all rules", "all … rules", "the … ignore", "rules the", "don't … all")
    matcher = TriggerMatcher([Trigger(phrase, "PI", 9, 0) for phrase in phrases])
    for _ in range(500):
        text = " ".join(generator.choices(WORDS, k=generator.randrange(9)))
        found = words(text)
        wanted = {phrase for phrase in phrases if any(stands(phrase.split(), found, at) for at in range(len(found)))}
        named = [trigger.phrase for trigger in matcher(text)]
        assert set(named) <= wanted
        assert bool(named) == bool(wanted)
        covered = [phrase for phrase in wanted if len(phrase.replace(f" {GAP}", "").split()) == 3]
        assert set(covered) <= set(named)  # nothing is longer, so nothing hides them
