"""Why a text was flagged and what to do about it, for a person to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.decode.view import View
from core.trigger import Trigger

WARN, BLOCK = 0.5, 0.8  # fixed by the consumers (serving contract); the heads are made to fit
SHOWN_CHARACTERS = 120  # of a decoded text


class Evidence(NamedTuple):
    """What is known of a text beside the model's scores."""

    triggers: Sequence[Trigger] = ()
    similar: Sequence[Mapping[str, Any]] = ()
    """The nearest attack clusters."""
    view: View | None = None
    """What the text says when it is decoded."""
    decided_by_view: bool = False
    """Whether the decoded view's score counts, not that of the text as it stands."""
    by_layer: bool = False
    """Whether a first layer decided, so that the model was not asked."""


def recommended(attack: float) -> str:
    """The action for an attack probability, by the consumers' fixed limits."""
    return "BLOCK" if attack >= BLOCK else "WARN" if attack >= WARN else "ALLOW"


def reasons(
    attack: float, labels: tuple[str, str], sure_family: float, sure_subfamily: float, evidence: Evidence
) -> list[str]:
    """Why an attack was flagged, the weightiest reason first."""
    limit = BLOCK if attack >= BLOCK else WARN
    by = " in the first layer" if evidence.by_layer else ""
    lines = [
        f"attack probability {attack:.2f} reaches {limit}{by}",
        f"closest to {labels[0]} ({sure_family:.2f}) / {labels[1]} ({sure_subfamily:.2f})",
    ]
    if evidence.view is not None:
        weight = "is what counts here" if evidence.decided_by_view else "was read beside the text"
        beginning = " ".join(evidence.view.text[:SHOWN_CHARACTERS].split())
        lines.append(f'decoded ({", ".join(evidence.view.kinds)}), which {weight}: "{beginning}"')
    for trigger in evidence.triggers:
        total = trigger.attacks + trigger.benign
        lines.append(
            f'"{trigger.phrase}" stood in {trigger.attacks} attacks among {total} training texts ({trigger.family})'
        )
    if evidence.similar:
        nearest = evidence.similar[0]
        lines.append(f"most like known attacks of {nearest['subfamily']} (cosine {nearest['similarity']:.2f})")
    return lines
