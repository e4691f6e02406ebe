"""The model card: what the model is for, on what it was made and measured, its figures with intervals, its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core import serving
from core.pretrained import read_spec
from eval.cards import figures

AROUND = """\
- `core.pipeline` puts more around the model (decoded views, keywords first: `serving` in `manifest.yaml`), and the
  figures include it; consumers other than it run the model alone.
"""
RAXE_FOLDER = """```python
from core.pipeline import open_pipeline          # verifies every hash; imports no torch
guard = open_pipeline(Path("this folder"))
print(guard("Ignore all previous instructions …").recommended_action)
```

raxe-ce's `FolderL2Detector(folder)` reads it unchanged. Output 0 of the graph: `sentence_embedding` (batch, {dim}),
L2-normalised; the heads take it as `embeddings` and answer with a label and a map of probabilities."""
STAMP = "> synthetic: shows that the machinery works, claims nothing\n\n"
PAGE = """# {name}

{stamp}A prompt-attack classifier: a sentence encoder ({architecture}, {precision}; pooling and padding cut inside the
graph) with binary, family and sub-family heads. Inputs: `input_ids`, `attention_mask` (batch, tokens) int64, padded on
the right, at most {length} tokens. Embeddings have {dim} dimensions.

## Intended use

To flag prompts and retrieved texts that attack a language model ({families}) before they reach it, as one layer among
others. It is no judge of people, of harmful wishes stated plainly, or of a model's answers. {threshold}

## How to load it

{use}

## Data

{data}

## Figures

{figures}

## Limits

- It reads {length} tokens: what stands behind them is not seen.
- Whoever can try texts against it finds some that pass; it is not hardened against such search.
- Texts unlike those it was trained on may be judged far worse than the figures above say{elsewhere}.
{around}- Quantised graphs can answer differently on other processors; figures name the one that was measured.
"""


def of_raxe_folder(product: figures.Subject, described: Mapping[str, Any]) -> str:
    """The card of the layout that our own pipeline reads."""
    return write(product, described, RAXE_FOLDER.format(dim=described["embedding_dim"]), "onnxruntime")


def write(product: figures.Subject, described: Mapping[str, Any], use: str, library: str, task: str = "") -> str:
    """The whole card; described: the manifest's fields; use: how the layout's consumer loads it; task: the hub's name
    for what it is used for, text classification unless said.
    """
    from huggingface_hub import ModelCard, ModelCardData

    results = [result for report in figures.reports(product) for result in figures.results(product, report)]
    measured = product.measured
    front = ModelCardData(
        library_name=library,
        pipeline_tag=task or "text-classification",
        tags=["prompt-injection", "jailbreak-detection", "onnx", "mpnet"],
        model_name=figures.judged_model(measured, product.name) if measured and results else None,
        eval_results=results or None,
    )
    return str(ModelCard(f"---\n{front.to_yaml()}\n---\n\n{_body(product, described, use)}"))


def _body(product: figures.Subject, described: Mapping[str, Any], use: str) -> str:
    fields = product.checkpoint.fields
    point = fields["operating_point"]
    elsewhere = any(one.split.startswith("ood") for one in figures.reports(product))
    return PAGE.format(
        name=product.name,
        stamp=STAMP if fields.get("synthetic") else "",
        architecture=read_spec(product.source).architecture.replace("_", " "),
        precision=described.get("precision", product.precision),
        length=fields["max_length"],
        dim=fields["embedding_dim"],
        families=", ".join(product.taxonomy.families),
        threshold=(
            "The attack probability is at least 0.5 exactly where validation put the threshold"
            f" ({point['threshold']:.4f} before the shift); 0.8 and more is meant to be blocked."
        ),
        use=use,
        data=_data(fields),
        figures=figures.tables(product, described),
        elsewhere=": see the sets named ood" if elsewhere else "",
        around=AROUND if fields.get(serving.KEY) else "",
    )


def _data(fields: Mapping[str, Any]) -> str:
    """Which rows, by fingerprint, and which of them chose the threshold."""
    known = (fields.get("provenance") or {}).get("fingerprints") or {}
    lines = [f"- {name}: rows with the fingerprint `{digest}`" for name, digest in known.items()]
    if origin := fields["operating_point"].get("origin"):
        lines.append(
            f"- threshold: {origin['rule']}, on {origin['rows']} {origin['split']} rows"
            f" ({origin['attacks']} of them attacks)"
        )
    return "\n".join([*lines, "- seed, versions, configuration and the SHA-256 of every file: `manifest.yaml`"])
