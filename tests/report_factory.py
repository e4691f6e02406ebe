"""Real reports for tests, with the predictions and calls they rest on, made without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.pipeline import STAGES
from core.provenance import config_hash
from core.rows import Rows, fingerprint
from core.schema import Evaluation
from eval import kept, report
from eval.judge import Measured, judge
from eval.kept import Answers, Calls, Kept
from eval.schema import Hardware, Report, Resources

SEED, REPEATS, CALLS = 13, 200, 1000


def make_rows(attacks: int = 40, benign: int = 60) -> Rows:
    """Attacks first, of the families JB and PI in turn, then benign texts; two neighbours share a group.

    Sources: web and lab in turn for attacks, mail and web for benign texts.
    """
    labels = np.repeat([1, 0], [attacks, benign]).astype(np.int64)
    families = tuple(("JB", "PI")[index % 2] for index in range(attacks)) + ("BENIGN",) * benign
    subfamilies = tuple(name.lower() + "_kind" if name != "BENIGN" else "benign" for name in families)
    sources = tuple(("web", "lab")[index % 2] for index in range(attacks))
    sources += tuple(("mail", "web")[index % 2] for index in range(benign))
    texts = tuple(f"Text number {index}, of the family {family}." for index, family in enumerate(families))
    return Rows(texts, labels, families, subfamilies, tuple(str(index // 2) for index in range(len(texts))), sources)


def make_probability(rows: Rows, wrong: Sequence[int] = (), noise_seed: int = 0) -> NDArray[np.float64]:
    """Attack probabilities (n,) on the right side of 0.5, but for the rows named in `wrong`."""
    spread = np.random.default_rng(noise_seed).uniform(0.05, 0.45, len(rows))
    right = rows.labels == 1
    right[list(wrong)] = ~right[list(wrong)]
    return np.where(right, 1 - spread, spread)


def make_answers(rows: Rows, probability: NDArray[np.float64]) -> Answers:
    """The true family for a caught attack, PI for a false alarm, the benign family else."""
    said = probability >= 0.5
    named = [("PI", "pi_kind") if benign else names for *names, benign in _names(rows)]
    family, subfamily = zip(
        *(name if here else ("BENIGN", "benign") for name, here in zip(named, said, strict=True)), strict=True
    )
    confidence = np.full(len(rows), 0.8)
    return Answers(np.asarray(probability, np.float64), family, subfamily, confidence, confidence)


def _names(rows: Rows) -> list[tuple[str, str, bool]]:
    return list(zip(rows.families, rows.subfamilies, (rows.labels == 0).tolist(), strict=True))


def make_calls(rows: int, milliseconds: float, reference_ms: float = 1.0, seed: int = 0, threads: int = 1) -> Calls:
    """A thousand calls whose median is about `milliseconds`, half of it in the encoder, on a quiet machine."""
    generator = np.random.default_rng(seed)
    total = milliseconds * 1e6 * generator.uniform(0.8, 1.2, CALLS)
    shares = dict(zip(STAGES, (0.2, 0.5, 0.2, 0.1), strict=True))
    reference = np.where(np.arange(CALLS) % 4 == 0, reference_ms * 1e6 * generator.uniform(0.99, 1.01, CALLS), -1)
    return Calls(
        row=generator.integers(0, rows, CALLS),
        stages={name: (total * share).astype(np.int64) for name, share in shares.items()},
        reference=reference.astype(np.int64),
        threads=threads,
    )


def make_report(
    folder: Path,
    rows: Rows | None = None,
    probability: NDArray[np.float64] | None = None,
    *,
    model_id: str = "student",
    split: str = "test",
    size_mb: float = 23.5,
    milliseconds: float | None = 2.0,
    reference_ms: float = 1.0,
    threads: int = 1,
    cpu: str = "a processor",
    synthetic: bool = False,
) -> Report:
    """Writes report.json, report.md, predictions.parquet and (unless `milliseconds` is None) calls.parquet."""
    rows = make_rows() if rows is None else rows
    probability = make_probability(rows) if probability is None else probability
    calls = None if milliseconds is None else make_calls(len(rows), milliseconds, reference_ms, threads=threads)
    evaluation = Evaluation(split=split, bootstrap_repeats=REPEATS)
    config = {"name": "made", "seed": SEED, "evaluation": evaluation.model_dump(mode="json")}
    measured = Measured(
        model_id=model_id,
        timestamp="2025-01-01T00:00:00+00:00",
        hardware=Hardware(cpu=cpu, cores=2, memory_gb=16.0, os="Linux", cpu_flags=("avx2",)),
        split=split,
        synthetic=synthetic,
        provenance={
            "seed": SEED, "config": config, "config_hash": config_hash(config),
            "fingerprints": {split: fingerprint(rows)}, "git": {"commit": "c0ffee", "dirty": False},
        },
        resources=Resources(
            model_size_mb=size_mb, bytes_by_group={"graph": round(size_mb * 1e6)}, memory_usage_mb=120.0
        ),
        precision="onnx int8",
    )  # fmt: skip
    evidence = Kept(rows, make_answers(rows, probability), calls)
    made = judge(evidence, measured, evaluation, SEED)
    folder.mkdir(parents=True, exist_ok=True)
    kept.write(evidence, folder)
    report.write(made, folder)
    return made
