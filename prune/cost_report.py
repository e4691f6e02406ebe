"""The cost of every layer and head as JSON, as a table to read, and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.folders import new_folder
from eval.schema import SYNTHETIC
from prune.cost_interval import REPEATS, Interval
from prune.cost_picture import draw
from prune.cost_table import Costs, lost

PICTURE = "costs.png"


def write(folder: Path, costs: Costs, named: Mapping[str, Any]) -> list[Path]:
    """Writes costs.json, costs.md and costs.png, all or none, and returns their paths.

    named: what else the JSON holds: the checkpoint, the data, the machine.
    """
    with new_folder(folder) as temporary:
        text = json.dumps({**named, **asdict(costs)}, indent=2, ensure_ascii=False)
        (temporary / "costs.json").write_text(text + "\n", encoding="utf-8")
        page = markdown(costs, str(named.get("model", "")), bool(named.get("synthetic")))
        (temporary / "costs.md").write_text(page, encoding="utf-8")
        draw(costs, temporary / PICTURE)
    return [folder / name for name in ("costs.json", "costs.md", PICTURE)]


def markdown(costs: Costs, model: str, synthetic: bool) -> str:
    """Tables of what is lost without each layer and each head."""
    whole = costs.whole
    lines = [
        f"# What each layer and head of {model} costs",
        "",
        *([f"> **{SYNTHETIC}**", ""] if synthetic else []),
        f"On {costs.texts} validation texts, nothing trained in between. Whole: F1 {whole.f1:.4f} at the threshold that"
        f" these texts choose, recall {whole.recall:.4f}, AUROC {whole.auroc:.4f}. F1 lost: in points (0.01), at a"
        " threshold chosen anew for each row, and at the one that is served; cosine: of the embeddings to the whole's."
        f" In brackets the 95 % interval of a loss: paired with the whole in {REPEATS} resamples of near-duplicate"
        " clusters, the thresholds held, each row for itself.",
        "",
        "| without layer | F1 | F1 lost | lost as served | recall | AUROC | AUROC lost | cosine |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, worth in enumerate(costs.layers):
        served = _within(100 * (whole.f1_as_served - worth.f1_as_served), worth.f1_as_served_lost_interval)
        f1 = _within(lost(whole, worth), worth.f1_lost_interval)
        low, high = worth.auroc_lost_interval
        auroc = f"{worth.auroc:.4f} | {whole.auroc - worth.auroc:+.4f} ({low:+.4f} to {high:+.4f})"
        numbers = f"{worth.f1:.4f} | {f1} | {served} | {worth.recall:.4f} | {auroc} | {worth.cosine:.4f}"
        lines.append(f"| {number} | {numbers} |")
    columns = sorted({head for heads in costs.heads for head in heads})
    for title in ("F1 lost, points", "Cosine"):
        lines += ["", f"## {title}, without one head", "", f"| layer | {' | '.join(map(str, columns))} |"]
        lines.append("| --- " * (len(columns) + 1) + "|")
        for number, heads in enumerate(costs.heads):
            found = [heads.get(head) for head in columns]
            if title == "Cosine":
                cells = [f"{worth.cosine:.4f}" if worth else "" for worth in found]
            else:
                cells = [_within(lost(whole, worth), worth.f1_lost_interval) if worth else "" for worth in found]
            lines.append(f"| {number} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"![the same as a picture]({PICTURE})", ""])


def _within(points: float, interval: Interval) -> str:
    """A loss of F1 in points, with its interval, which is of F1."""
    low, high = (100 * end for end in interval)
    return f"{points:+.2f} ({low:+.2f} to {high:+.2f})"
