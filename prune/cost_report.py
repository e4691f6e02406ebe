"""The cost of every layer and head as JSON, as a table to read, and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.folders import new_folder
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
        (temporary / "costs.md").write_text(markdown(costs, str(named.get("model", ""))), encoding="utf-8")
        draw(costs, temporary / PICTURE)
    return [folder / name for name in ("costs.json", "costs.md", PICTURE)]


def markdown(costs: Costs, model: str) -> str:
    """Tables of what is lost without each layer and each head."""
    whole = costs.whole
    lines = [
        f"# What each layer and head of {model} costs",
        "",
        f"On {costs.texts} validation texts, nothing trained in between. Whole: F1 {whole.f1:.4f} at the threshold that"
        f" these texts choose, recall {whole.recall:.4f}, AUROC {whole.auroc:.4f}. F1 lost: in points (0.01), at a"
        " threshold chosen anew for each row, and at the one that is served; cosine: of the embeddings to the whole's.",
        "",
        "| without layer | F1 | F1 lost | lost as served | recall | AUROC | cosine |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, worth in enumerate(costs.layers):
        served = 100 * (whole.f1_as_served - worth.f1_as_served)
        numbers = f"{worth.f1:.4f} | {lost(whole, worth):+.2f} | {served:+.2f} | {worth.recall:.4f} | {worth.auroc:.4f}"
        lines.append(f"| {number} | {numbers} | {worth.cosine:.4f} |")
    columns = sorted({head for heads in costs.heads for head in heads})
    for title in ("F1 lost, points", "Cosine"):
        lines += ["", f"## {title}, without one head", "", f"| layer | {' | '.join(map(str, columns))} |"]
        lines.append("| --- " * (len(columns) + 1) + "|")
        for number, heads in enumerate(costs.heads):
            found = [heads.get(head) for head in columns]
            if title == "Cosine":
                cells = [f"{worth.cosine:.4f}" if worth else "" for worth in found]
            else:
                cells = [f"{lost(whole, worth):+.2f}" if worth else "" for worth in found]
            lines.append(f"| {number} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"![the same as a picture]({PICTURE})", ""])
