"""The fidelity of a student written down: as JSON, as Markdown with the texts that flipped, and on the screen."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from core.folders import atomic_write
from eval.cells import NONE, Cells, escape, markdown_table, print_table, share, with_interval
from eval.comparing import fidelity_words as words
from eval.comparing.page import code
from eval.comparing.tables import FIGURES, TEST_HEAD, p_value, signed, span
from eval.printable import printable
from eval.schema.comparison import Flip
from eval.schema.fidelity import Fidelity, Side

SHOWN = 20  # texts of each kind of flip
FIGURE_HEAD = ("Figure", "Teacher", "Student", "Difference", "95 % interval", "p")
DECISION_HEAD = ("Decisions on", "Texts", "Alike", "Flips", "Teacher right", "Student right")
LIKENESS_HEAD = ("Probabilities of", "Spearman", "Mean difference", "Divergence, nats")
EMBEDDING_HEAD = ("Embeddings", "Value")
HEADLINES = ("binary_f1", "binary_precision", "binary_recall", "false_positive_rate", "auroc", "family_f1")


def write(fidelity: Fidelity, folder: Path) -> tuple[Path, Path]:
    """Writes fidelity.json and fidelity.md, each whole or not at all; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_markdown = folder / "fidelity.json", folder / "fidelity.md"
    atomic_write(as_markdown, to_markdown(fidelity))
    atomic_write(as_json, fidelity.model_dump_json(indent=2) + "\n")
    return as_json, as_markdown


def figure_rows(fidelity: Fidelity, names: tuple[str, ...] = tuple(FIGURES)) -> Cells:
    """One row a figure that the texts can say; each side with its own interval, then that of the difference."""
    rows = []
    for name in names:
        change = fidelity.figures[name]
        if change.before is None and change.after is None:
            continue
        own = [_own(side, name) for side in (fidelity.teacher, fidelity.student)]
        rows.append((FIGURES[name], *own, signed(change.difference), span(change), p_value(change.p_value)))
    return rows


def _own(side: Side, name: str) -> str:
    return with_interval(getattr(side.accuracy, name), getattr(side.accuracy.intervals, name))


def decision_rows(fidelity: Fidelity) -> Cells:
    """Agreement and flips; who is right in the flips, as a count and a share of them."""
    rows = []
    for name, of in fidelity.decisions.items():
        right = [
            f"{count:,}" + (f" ({count / of.flips:.0%})" if of.flips else "")
            for count in (of.only_teacher_right, of.only_student_right)
        ]
        rows.append((name, f"{of.texts:,}", words.estimated(of.agreement), f"{of.flips:,}", *right))
    return rows


def likeness_rows(fidelity: Fidelity) -> Cells:
    """Attack probabilities."""
    return [
        (name, words.estimated(one.spearman), *map(words.finely, (one.mean_absolute_difference, one.divergence)))
        for name, one in fidelity.probabilities.items()
    ]


def embedding_rows(fidelity: Fidelity) -> Cells:
    """Cosines and similarities, or why there are none."""
    of, rows = fidelity.embeddings, []
    if (cosine := of.cosine) is None:
        rows.append(("cosine student to teacher", of.cosine_reason or NONE))
    else:
        rows += [
            ("cosine student to teacher, mean", words.estimated(cosine.mean)),
            ("cosine, 5th percentile", words.estimated(cosine.fifth_percentile)),
            ("cosine, worst", share(cosine.worst)),
        ]
    if (alike := of.similarities) is None:
        return [*rows, ("similarities of pairs", of.similarities_reason or NONE)]
    return [
        *rows,
        ("similarities of pairs, Spearman", words.estimated(alike.spearman)),
        ("similarities of pairs, Pearson", words.estimated(alike.pearson)),
        ("mean similarity, teacher and student", f"{alike.teacher_mean:.3f}, {alike.student_mean:.3f}"),
    ]


def to_markdown(fidelity: Fidelity) -> str:
    """The page."""
    tested = [
        (name, str(of.only_before_right), str(of.only_after_right), p_value(of.p_value))
        for name, of in fidelity.mcnemar.items()
    ]
    head = ("Decisions on", "Only teacher right", "Only student right", *TEST_HEAD[3:4])
    blocks = [f"# Fidelity of {escape(fidelity.student.name)} to {escape(fidelity.teacher.name)}"]
    blocks += [f"> **{fidelity.synthetic}**"] if fidelity.synthetic else []
    blocks += [escape(line) for line in (words.sentence(fidelity), words.caution(fidelity))]
    blocks += ["## Figures", markdown_table(FIGURE_HEAD, figure_rows(fidelity))]
    blocks += ["## Decisions", markdown_table(DECISION_HEAD, decision_rows(fidelity)), markdown_table(head, tested)]
    blocks += ["## Attack probabilities", markdown_table(LIKENESS_HEAD, likeness_rows(fidelity))]
    blocks += [
        "## Embeddings",
        escape(words.sampled(fidelity)),
        markdown_table(EMBEDDING_HEAD, embedding_rows(fidelity)),
    ]
    if (cosine := fidelity.embeddings.cosine) is not None:
        blocks.append(f"The worst begins: {code(cosine.worst_text)}")
    blocks.append("## Flips from teacher to student")
    for kind, texts in fidelity.flips.items():
        few = f", the {SHOWN} most confident" if len(texts) > SHOWN else ""
        blocks.append(f"**{kind}**: {len(texts):,} text{'' if len(texts) == 1 else 's'}{few}")
        blocks += ["\n".join(_flip(flip) for flip in texts[:SHOWN])] if texts else []
    return "\n\n".join([*blocks, words.models(fidelity)]) + "\n"


def _flip(flip: Flip) -> str:
    return f"- {flip.before:.3f} -> {flip.after:.3f} ({escape(flip.family)}, {escape(flip.source)}): {code(flip.text)}"


def print_fidelity(fidelity: Fidelity, console: Console | None = None) -> None:
    """The headlines, decisions, probabilities and embeddings; the texts stand in the files."""
    console = console or Console()
    console.print(Text(printable(words.sentence(fidelity)), style="bold"))
    above = [fidelity.synthetic] if fidelity.synthetic else []
    print_table(FIGURE_HEAD, figure_rows(fidelity, HEADLINES), above, console)
    print_table(DECISION_HEAD, decision_rows(fidelity), (), console)
    print_table(LIKENESS_HEAD, likeness_rows(fidelity), (), console)
    print_table(EMBEDDING_HEAD, embedding_rows(fidelity), (), console)
    for line in (words.sampled(fidelity), words.caution(fidelity)):
        console.print(Text(printable(line)))
