"""The report as a page: complete, right in every gap, one file, deterministic, and deaf to hostile texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_factory import make_answers, make_calls, make_probability, make_report, make_rows

from core.errors import UserError
from core.rows import Rows
from core.schema import Evaluation, Limits
from eval import kept
from eval.html import to_html
from eval.judge import Measured, judge
from eval.kept import Kept
from eval.pages import facts, mistakes, parts, verdicts, words
from eval.pages.figure import picture, round_values
from eval.pages.page import POLICY
from eval.schema import Cell, ColdStart, Grid, Judgement, Overlap, Report, Resources, Threshold, Throughput

SECTIONS = [
    "verdict", "notes", "accuracy", "decisions", "parts", "latency", "reliability", "resources", "mistakes", "origin",
]  # fmt: skip
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]> --> </style></svg></title><h1>owned</h1>",
    r"$\frac{1}{0}$ {{ 7 * 7 }} {% raw %}",
    "\u202egnirts\u202c \u0627\u0644\u0633\u0644\u0627\u0645 \x00\x1b[31m\u200b\U000e0041",
)
VOID = {"meta", "link", "br", "img", "use", "path", "rect", "circle", "line", "image", "input"}
Page = tuple[Report, Kept]


class Outline(HTMLParser):
    """Everything on a page: tags with their attributes, text, and tags that do not close what is open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.unbalanced: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        self.unbalanced += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def outline(page: str) -> Outline:
    """The page's outline, which must be well-formed, scriptless, and free of anything outside it."""
    found = Outline(page)
    assert not found.unbalanced
    for tag, attributes in found.tags:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
    assert "url(" not in page.replace("url(#", "")
    assert "@import" not in page
    return found


def text_of(page: str) -> str:
    """All text of a page, runs of white space as one space."""
    return " ".join(" ".join(outline(page).text).split())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """40 attacks of which 2 are missed, 60 benign texts of which one is flagged; timed."""
    folder, rows = tmp_path_factory.mktemp("plain"), make_rows()
    report = make_report(folder, rows, make_probability(rows, wrong=(0, 1, 50)))
    return report, kept.read(folder)


@pytest.fixture(scope="module")
def full(plain: Page) -> Page:
    """The same with everything a report can hold."""
    report, evidence = plain
    cells = [
        Cell(tokens=tokens, threads=threads, batch=1, padding="dynamic", calls=9, p50_ms=1.25, p95_ms=1.5,
             texts_per_second=800.0) for threads in (1, 2) for tokens in ("1-16", "17-32")
    ][:3]  # fmt: skip
    used = Resources(
        model_size_mb=1.5, bytes_by_group={"graph": 1_200_000, "tokenizer": 300_000}, memory_usage_mb=120.0,
        steady_memory_mb=110.0, cpu_usage_percent=99.0,
        cold_start=ColdStart(import_s=0.5, open_s=0.25, first_call_s=0.125),
    )  # fmt: skip
    more = {
        "grid": Grid(seconds=30.0, cells=tuple(cells), left_out=("512 tokens, batch 32",)),
        "throughput": Throughput(callers=2, seconds=5.0, texts=4000, texts_per_second=800.0, p95_ms=3.5),
        "threshold": Threshold(
            value=0.8731, rule="target_fpr", split="validation", fingerprint="ab" * 32, rows=50, attacks=20, f1=0.9,
            recall=0.85, false_positive_rate=0.005,
        ),
        "overlap": Overlap(
            training_rows=999, training_fingerprint="cd" * 32, same_training_rows=False, exact=0, near=7,
            near_similarity=0.8, same_group=3,
        ),
        "resources": used,
        "notes": ("Mind the gap.",),
        "synthetic": "synthetic: shows that the machinery works, claims nothing",
    }  # fmt: skip
    return report.model_copy(update=more), evidence


def judged(rows: Rows, probability: Sequence[float] | np.ndarray, like: Report, *, timed: bool = False) -> Page:
    """These rows judged as another report was, without what was measured beside them."""
    evidence = Kept(rows, make_answers(rows, np.asarray(probability, np.float64)), None)
    if timed:
        evidence = replace(evidence, calls=make_calls(len(rows), 2.0))
    bare = replace(Measured.of(like), grid=None, throughput=None, threshold=None, overlap=None)
    return judge(evidence, bare, Evaluation(bootstrap_repeats=100), 13), evidence


def test_every_section_is_there_and_the_verdict_comes_first(full: Page) -> None:
    page = to_html(*full)
    found = outline(page)
    assert [attributes["id"] for tag, attributes in found.tags if tag == "section"] == SECTIONS
    drawn = [attributes for tag, attributes in found.tags if tag == "svg"]
    assert len(drawn) == 6
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawn)
    assert page.index("claims nothing") < page.index('id="verdict"')
    links = {attributes["href"] for tag, attributes in found.tags if tag == "a"}
    assert links <= {f"#{name}" for name in SECTIONS}


def test_the_page_says_what_the_report_says(full: Page) -> None:
    report, _ = full
    text = text_of(to_html(*full))
    f1, (low, high) = report.accuracy.binary_f1, report.accuracy.intervals.binary_f1 or (0.0, 0.0)
    for phrase in (
        f"F1 {f1:.4f} {low:.4f} to {high:.4f} bootstrap",
        "attacks: 2 of 40 missed", "benign: 1 of 60 flagged", "40 attacks 38 95.0 % 2 5.0 %",
        "60 benign 1 1.7 % 59 98.3 %", "Mind the gap.", "Benign texts flagged: 1 of 1", "Attacks missed: 2 of 2",
        "1.20 MB 80.0 %", "Peak memory 120 MB", "Cold start: open 0.250 s", "800 texts a second with 2 callers",
        "Left out: 512 tokens, batch 32.", "1 thread, batch 1, padding dynamic 1.25 1.50 800/s",
        "0.8731 as a probability of the raw head", "names other rows as its training data",
        "A near-duplicate (similarity at least 0.8) 7", "c0ffee, clean", "a processor, 2 cores", "2025-01-01 00:00 UTC",
    ):  # fmt: skip
        assert phrase in text, phrase


def test_a_card_shows_figure_limit_interval_margin_and_sentence(full: Page) -> None:
    report, _ = full
    card = next(card for card in verdicts.cards(report) if card.name == "recall")
    assert (card.measured, card.wanted, card.word, card.mark) == ("0.9500", "> 0.97", "undecided", "?")
    assert card.interval.startswith("0.8350 to ")  # Wilson's interval of 38 in 40
    assert card.margin == "−0.1350"
    text = text_of(to_html(*full))
    assert f"wanted > 0.97 interval {card.interval} margin −0.1350 {card.sentence}" in text


@pytest.mark.parametrize(("label", "absent"), [(1, "The set holds no benign text."), (0, "The set holds no attack.")])
def test_a_set_of_one_label_has_no_ranking_and_says_so(plain: Page, label: int, absent: str) -> None:
    rows = make_rows(30, 0) if label else make_rows(0, 30)
    page = to_html(*judged(rows, make_probability(rows, wrong=(3,)), plain[0]))
    text = text_of(page)
    assert absent in text
    assert "there is no ROC and no precision-recall curve" in text
    assert page.count("<svg") == 2  # scores and reliability
    assert ("1 of 30 missed" in text) == bool(label)
    assert ("1 of 30 flagged" in text) == (not label)


def test_what_was_not_measured_is_said_and_nothing_says_none(plain: Page) -> None:
    report, evidence = plain
    step = judged(evidence.rows, evidence.predictions.attack_probability, report)[0]
    step = step.model_copy(
        update={
            "precision": None, "sensitivity": {}, "notes": (), "targets": Limits(false_positive_rate=None),
            "judgements": {}, "meets_targets": {}, "provenance": {},
            "resources": Resources(model_size_mb=2.0, bytes_by_group={"all": 2_000_000}),
        }
    )  # fmt: skip
    text = text_of(to_html(step, Kept(evidence.rows, evidence.predictions)))
    assert "No target was set" in text
    assert "Latency Not measured." in text
    assert "Peak memory – MB" in text
    assert "The checkpoint does not say." in text
    assert "Commit not a checkout" in text
    assert "Before you believe a figure" not in text
    assert not re.search(r"\b(None|nan|Undefined)\b", text)


def test_hostile_texts_names_and_identifiers_stay_text(full: Page) -> None:
    report, evidence = full
    rows, many = evidence.rows, len(evidence.rows)
    poison = tuple(HOSTILE[index % len(HOSTILE)] for index in range(many))
    flags = tuple(label == 1 for label in rows.labels.tolist())
    families = tuple(bad if attack else f"BENIGN{HOSTILE[0]}" for bad, attack in zip(poison, flags, strict=True))
    bad_rows = Rows(poison, rows.labels, families, families, poison, poison)
    hostile, evidence = judged(bad_rows, np.where(rows.labels == 1, 0.1, 0.9), report, timed=True)
    everything = " ".join(HOSTILE)
    threshold, overlap = report.threshold, report.overlap
    assert threshold is not None
    assert overlap is not None
    hostile = hostile.model_copy(
        update={
            "model_id": everything, "split": everything, "precision": everything, "timestamp": everything,
            "notes": HOSTILE, "grid": Grid(seconds=1.0, cells=(), left_out=HOSTILE),
            "hardware": report.hardware.model_copy(update={"cpu": everything, "os": everything, "cpu_flags": HOSTILE}),
            "threshold": threshold.model_copy(update={"rule": everything, "split": everything}),
            "resources": Resources(model_size_mb=1.0, bytes_by_group={everything: 1_000_000}),
            "provenance": {
                "command": list(HOSTILE), "git": {"commit": everything}, "versions": {everything: everything},
                "fingerprints": {everything: everything}, "config_hash": everything, "seed": everything,
            },
        }
    )  # fmt: skip
    page = to_html(hostile, evidence)
    outline(page)
    for raw in ("<script", "<img", "</title><h1>", "</style></svg>", "\x00", "\x1b", "\u202e", "\u200b", "\U000e0041"):
        assert raw not in page.replace("</style>\n</head>", ""), raw
    text = text_of(page)
    for shown in (*HOSTILE[:4], "␀␛[31m⟨U+200B⟩⟨U+E0041⟩", "⟨U+202E⟩gnirts"):
        assert " ".join(shown.split()) in text
    assert 'content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; img-src data:' in page
    assert "script-src" not in POLICY


def test_lone_surrogates_can_be_written(plain: Page) -> None:
    rows = make_rows(4, 4)
    rows = replace(rows, texts=tuple(f"\ud800 {text}" for text in rows.texts))
    page = to_html(*judged(rows, np.full(8, 0.7), plain[0]))
    assert "\ufffd Text number" in page.encode().decode()


def test_the_same_report_gives_the_same_bytes(full: Page) -> None:
    assert to_html(*full) == to_html(*full)


def test_predictions_of_other_rows_are_refused(full: Page) -> None:
    rows = make_rows(5, 5)
    with pytest.raises(UserError, match=r"on 100 rows.*are of 10"):
        to_html(full[0], Kept(rows, make_answers(rows, np.full(10, 0.3))))


def test_five_thousand_rows_of_six_hundred_sources_stay_below_a_megabyte(plain: Page) -> None:
    rows, generator = make_rows(1500, 3500), np.random.default_rng(0)
    names = tuple(f"owner-{index % 600}/some-repository:data/a-rather-long-file-name.jsonl" for index in range(5000))
    rows = replace(rows, texts=tuple(f"{text} " + "word " * 700 for text in rows.texts), sources=names)
    probability = np.clip(np.where(rows.labels == 1, 0.8, 0.2) + generator.normal(0, 0.25, 5000), 0, 1)
    page = to_html(*judged(rows, probability, plain[0], timed=True))
    assert len(page.encode()) < 1_000_000
    assert "All 600 sources" in page
    assert page.count('<article class="mistake">') == 40


def test_the_worst_mistakes_are_the_most_confident_ones() -> None:
    rows = make_rows(30, 30)
    rows = replace(rows, texts=("x" * 9000, *rows.texts[1:]))
    probability = np.concatenate([np.linspace(0.0, 0.6, 30), np.linspace(0.1, 0.95, 30)])
    found = mistakes.mistakes(Kept(rows, make_answers(rows, probability)))
    assert (found.missed_of, found.flagged_of) == (
        int((probability[:30] < 0.5).sum()),
        int((probability[30:] >= 0.5).sum()),
    )
    assert [one.score for one in found.missed] == sorted(probability[:30])[:20]
    assert [one.score for one in found.flagged] == sorted(probability[30:], reverse=True)[: found.flagged_of][:20]
    first = found.missed[0]
    assert (first.number, first.family, first.said, first.characters) == (1, "JB", "BENIGN", 9000)
    assert first.start == "x" * 300 + " …"
    assert len(first.whole) == 8002
    assert found.missed[1].whole == ""  # short enough to stand whole


def test_families_are_counted_end_to_end_with_benign_last() -> None:
    rows = make_rows(4, 3)  # JB PI JB PI and three benign
    probability = np.array([0.9, 0.1, 0.9, 0.9, 0.1, 0.1, 0.9])
    table = parts.families(Kept(rows, make_answers(rows, probability)))
    assert table.names == ["JB", "PI", "BENIGN"]
    assert table.counts == [[2, 0, 0], [0, 1, 1], [0, 1, 2]]  # the false alarm is said to be PI


def test_sources_are_ordered_by_wrong_decisions(plain: Page) -> None:
    assert [name for name, _ in parts.by_errors(plain[0].per_source)] == ["lab", "mail", "web"]


@pytest.mark.parametrize(
    ("name", "judgement", "wanted", "shown"),
    [
        ("latency", (3.0004, (2.9, 3.1)), "< 3 ms", "3.0004"),
        ("size", (49.99, None), "≤ 50 MB", "49.99"),
        ("fpr", (0.01001, (0.007, 0.014)), "< 0.01", "0.01001"),
        ("unheard-of", (0.5, None), "< 1", "0.5000"),
    ],
)
def test_rounding_never_puts_a_figure_on_its_limit(
    name: str, judgement: tuple[float, tuple[float, float] | None], wanted: str, shown: str
) -> None:
    measured, interval = judgement
    limit = {"latency": 3.0, "size": 50.0, "fpr": 0.01}.get(name, 1.0)
    made = verdicts.card(
        name,
        Judgement(measured=measured, limit=limit, interval=interval, verdict="undecided", margin=-0.1, sentence="x"),
    )
    assert (made.wanted, made.measured) == (wanted, shown)
    assert made.scale is not None
    assert 0 < made.scale.low <= made.scale.measured <= made.scale.high < 100
    assert (made.scale.measured > made.scale.limit) == (measured > limit)


def test_the_headline_names_what_stands_where(plain: Page) -> None:
    report = plain[0]

    def said(**words_by_name: str) -> tuple[str, list[str]]:
        judgements = {
            name: Judgement.model_construct(measured=1.0, limit=1.0, interval=None, verdict=word, margin=0, sentence="")
            for name, word in words_by_name.items()
        }
        made = report.model_copy(update={"judgements": judgements})
        return verdicts.headline(made), verdicts.sentences(made)

    assert said(accuracy="met", size="met")[0].startswith("All 2 targets are met")
    assert said(accuracy="met", latency="missed", fpr="undecided") == (
        "1 of 3 targets is missed.",
        ["Missed: latency P95.", "Undecided: false-positive rate.", "Met: F1."],
    )
    assert said(accuracy="met", fpr="not measured")[0] == "No target is missed, but 1 of 2 are not proved."


def test_stages_add_up_to_the_whole(plain: Page) -> None:
    latency = plain[0].latency
    assert latency is not None
    segments = facts.stages(latency)
    assert [part.name for part in segments] == ["tokenise", "encode", "classify", "post-process"]
    assert sum(part.percent for part in segments) == pytest.approx(100)
    assert segments[1].percent == pytest.approx(50, abs=0.01)


@pytest.mark.parametrize(
    ("write", "value", "expected"),
    [
        (words.share, 0.97, "0.9700"), (words.share, None, "–"), (words.amount, 0.1234, "0.123"),
        (words.amount, 9.876, "9.88"), (words.amount, 98.76, "98.8"), (words.amount, 9876.5, "9,876"),
        (words.size, 950, "950 B"), (words.size, 1500, "1.5 kB"), (words.size, 23_900_000, "23.90 MB"),
        (words.when, "2025-11-25T16:10:59+00:00", "2025-11-25 16:10 UTC"), (words.when, "soon", "soon"),
        (words.visible, "a\tb\nc", "a\tb\nc"), (words.visible, "\r\x7f\x85\u2028\ufeff", "␍␡⟨U+0085⟩⟨U+2028⟩⟨U+FEFF⟩"),
        (words.visible, "\u0928\u092e\u0938\u094d\u0924\u0947 ü 漢", "\u0928\u092e\u0938\u094d\u0924\u0947 ü 漢"),
    ],
)  # fmt: skip
def test_words(write: Callable[[object], str], value: object, expected: str) -> None:
    assert write(value) == expected


def test_a_text_is_cut_at_a_word() -> None:
    assert words.cut("one two three", 13) == ("one two three", False)
    assert words.cut("one two three four", 16) == ("one two three …", True)
    assert words.cut("x" * 20, 10) == ("x" * 10 + " …", True)


def test_pictures_follow_the_page_and_read_no_mathematics() -> None:
    def draw(axes: list) -> None:
        axes[0].plot([0, 1], [0, 1], color="#c8500a")
        axes[0].set_xlabel(r"$\frac{1}{0}$ <b> & costs")

    svg = str(picture(draw, "A <title>", 'a "caption"').svg)
    assert "var(--attack)" in svg
    assert r"$\frac{1}{0}$ &lt;b&gt; &amp; costs" in svg
    assert 'aria-label="A &lt;title&gt;. a &#34;caption&#34;"' in svg
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert "http" not in svg.replace("xmlns", "")


@pytest.mark.parametrize(("low", "high"), [(21.0, 48.0), (0.3, 11.0), (1e-4, 1.0), (3.0, 3.1), (5.0, 4000.0)])
def test_an_axis_always_has_a_few_ticks(low: float, high: float) -> None:
    values = round_values(low, high)
    assert 2 <= len(values) <= 8
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)


def test_templates_are_shipped_with_the_package() -> None:
    templates = {path.name for path in (Path(words.__file__).parent / "templates").iterdir()}
    assert {"base.html.j2", "report.html.j2", "dashboard.html.j2", "parts.html.j2", "style.css", "sort.js"} <= templates
