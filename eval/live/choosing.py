"""The registry's choice among candidates, and what is odd about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from eval.live import registry
from eval.schema.live_choice import Candidate, Choice, Criteria, Scored, Skipped

OTHER_DOOR = (
    "Without a model id in its configuration raxe-ce (0cd953e) does not ask this registry: ModelDiscoveryService takes"
    " the first folder that holds the files, those named threat_classifier_*_deploy first, whatever its figures."
)
SCALES = {
    "latency": "A millisecond of P95 is a point; nothing else counts, not even an F1 of 0.1.",
    "balanced": "A millisecond of P95 is 0.6 points, a hundredth of F1 is 0.4: 3 ms outweigh 0.04 of F1.",
}


def expand(folders: Sequence[Path]) -> list[Path]:
    """Model folders; one without a manifest whose subfolders have one stands for those.

    UserError: no such folder.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}: name model folders, or the folder that holds them")
        inside = sorted(path.parent for path in folder.glob(f"*/{registry.MANIFEST}"))
        found += inside if inside and not (folder / registry.MANIFEST).exists() else [folder]
    return list({folder.resolve(): folder for folder in found}.values())


def names(folders: Sequence[Path]) -> list[str]:
    """What each folder would be called in one models folder: its name, with as many parents as tell it from others."""
    parts = [folder.resolve().parts for folder in folders]
    depth = [1] * len(parts)
    while True:
        found = ["-".join(path[-most:]) for path, most in zip(parts, depth, strict=True)]
        times = Counter(found)
        longer = [most + (times[name] > 1) for name, most in zip(found, depth, strict=True)]
        if longer == depth or all(most >= len(path) for most, path in zip(depth, parts, strict=True)):
            return found
        depth = longer


def choose(folders: Sequence[Path], criteria: Criteria) -> Choice:
    """What `ModelRegistry(models_dir).get_best_model(criteria)` returns if these folders lie in `models_dir`.

    UserError: two manifests give one id, of which the registry would keep whichever it reads last.
    """
    called = names(folders)
    read = [registry.read(folder, name) for folder, name in zip(folders, called, strict=True)]
    candidates = [one for one in read if isinstance(one, Candidate)]
    skipped = tuple(one for one in read if isinstance(one, Skipped))
    by_id: dict[str, Candidate] = {}
    for one in candidates:
        first = by_id.setdefault(one.model_id, one)
        if first is not one:
            raise UserError(
                f"{first.folder} and {one.folder} have the id {one.model_id}: the registry keeps whichever the file"
                " system lists last; give each its own model_id"
            )
    only_active = any(one.status == "active" for one in candidates)
    scored = []
    for one in sorted(candidates, key=lambda one: one.model_id):
        points = registry.score(one, criteria)
        considered = one.status == "active" or not only_active
        scored.append(Scored(candidate=one, score=points.score, considered=considered, sentence=points.sentence))
    scored.sort(key=lambda one: (not one.considered, -one.score))  # stable: of equals the first id
    best = next((one for one in scored if one.considered and one.score > -1), None)
    return Choice(
        criteria=criteria,
        chosen=best.candidate.model_id if best else None,
        scored=tuple(scored),
        skipped=skipped,
        notes=(*_renamed(folders, called), *_notes(scored, best, criteria)),
    )


def _renamed(folders: Sequence[Path], called: Sequence[str]) -> list[str]:
    """Folders of one name, which no models folder could hold."""
    pairs = zip(folders, called, strict=True)
    other = [f"{folder} as {name}" for folder, name in pairs if name != folder.resolve().name]
    return [f"One models folder holds no two of one name: copy {', '.join(other)}."] if other else []


def _notes(scored: Sequence[Scored], best: Scored | None, criteria: Criteria) -> list[str]:
    found = []
    if best is None:
        return ["No model is chosen: a detector made by these criteria stops with “No models available”."]
    if best.candidate.refused:
        found.append(f"The registry chooses {best.candidate.model_id} and then fails: {best.candidate.refused}.")
    if best.candidate.status != "active":
        found.append("No manifest says `status: active`, so all are considered.")
    considered = [one for one in scored if one.considered]
    ties = [one.candidate.model_id for one in considered[1:] if one.score == best.score]
    if ties:
        found.append(f"{', '.join(ties)} has as many points: of equals the first id in the alphabet wins.")
    blind = [one.candidate for one in considered if "not in the manifest" in one.sentence]
    if blind:
        listed, places = ", ".join(one.model_id for one in blind), " ".join(one.folder for one in blind)
        found.append(
            f"Manifests without the figure get 50 points for it, measured or not: {listed}. Judge them with python -m"
            f" eval.run; then python -m eval.quote {places} writes the figures into them."
        )
    if criteria in ("latency", "balanced"):
        found.append(SCALES[criteria])
    found.append(OTHER_DOOR)
    return found
