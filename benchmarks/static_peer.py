"""model2vec's own package on a student of ours: its token vectors as a checkpoint that the evaluator judges."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.command import CONFIG_HELP, OVERRIDE_HELP
from core import cli
from core.config import load
from core.errors import UserError

if TYPE_CHECKING:  # imported inside the functions, so that --help does not wait for the libraries
    import numpy as np
    from numpy.typing import NDArray

    from core.data import Corpus
    from core.schema import Experiment

SCRIPT = Path(__file__).parent / "consumers" / "distil_model2vec.py"
MAX_LENGTH, SAMPLE = 512, 200


def work(arguments: argparse.Namespace) -> int:
    """Distil, build the graph, compare it with model2vec's own embeddings, fit heads, write <output>/model2vec."""
    from core.data import load as load_data
    from core.folders import new_folder, writable

    experiment = load(arguments.config, arguments.overrides)
    if experiment.checkpoint is None:
        raise UserError("there is no student to distil: add checkpoint=FOLDER")
    target = writable(experiment.output) / "model2vec"
    corpus = load_data(experiment.data, experiment.seed)
    texts = corpus.splits["validation"].texts[:SAMPLE]
    with new_folder(target) as folder:
        theirs = distil(arguments.python, experiment.checkpoint, texts, folder)
        write(experiment, corpus, texts, theirs, folder)
    print(target)
    return 0


def distil(python: Path, student: Path, texts: tuple[str, ...], folder: Path) -> NDArray[np.float32]:
    """Their embeddings of the texts, (texts, dim); the graph and their tokenizer are written into the folder."""
    import numpy as np

    from benchmarks.elsewhere import answers
    from benchmarks.static_graph import graph

    with answers(python, SCRIPT, student, texts, f"distil {student} with model2vec") as made:
        graph(np.load(made / "vectors.npy"), folder / "embeddings.onnx")
        (folder / "tokenizer.json").write_bytes((made / "tokenizer.json").read_bytes())
        found: NDArray[np.float32] = np.load(made / "embeddings.npy")
    return found


def write(
    experiment: Experiment, corpus: Corpus, texts: tuple[str, ...], theirs: NDArray[np.float32], folder: Path
) -> None:
    """Heads, labels and manifest beside the graph. UserError: it embeds a text otherwise than model2vec does."""
    from benchmarks.static_graph import refuse_unlike
    from core import checkpoint, manifest
    from core.config import resolved
    from core.encoder import OnnxEncoder
    from core.provenance import provenance
    from core.rows import Taxonomy
    from distill.finish import make_classifier
    from distill.heads.fitting import fit_heads

    encoder = OnnxEncoder(folder, MAX_LENGTH)
    refuse_unlike(encoder.encode(texts), theirs)
    train, taxonomy = corpus.splits["train"], Taxonomy.of(corpus.splits["train"])
    heads = fit_heads(encoder.encode(train.texts), train, taxonomy, experiment.heads, experiment.seed)
    judged = encoder.encode(corpus.splits["validation"].texts)
    classifier, scores = make_classifier(heads, judged, corpus, taxonomy, experiment.heads)
    checkpoint.write_classifier(folder, classifier, MAX_LENGTH, raw=False)
    student = manifest.read(Path(str(experiment.checkpoint)))
    fields = {
        "name": "model2vec", "version": "0.1.0", "status": "experimental", "kind": "onnx", "precision": "fp32",
        "embedding_dim": encoder.dimension, "max_length": MAX_LENGTH, "scores": scores,
        "parent": {"name": student.name, "digest": student.digest},
        "operating_point": checkpoint.describe(classifier.point),
        "provenance": provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
    }  # fmt: skip
    manifest.write(folder, fields)


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=CONFIG_HELP)
    parser.add_argument(
        "--python", type=Path, required=True, metavar="FILE", help="an interpreter with model2vec[distill]"
    )
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help=OVERRIDE_HELP)


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="benchmarks.static_peer",
        purpose=(
            "Distil a student of whole MPNet layers into token vectors with model2vec's own package, in an environment"
            " of its own, and write them with our heads as a checkpoint that eval.run judges: <output>/model2vec."
        ),
        declare=declare,
        examples=[
            "python -m benchmarks.static_peer --config configs/distilled_excerpt.yaml --python M2V/bin/python"
            " checkpoint=artifacts/distilled_excerpt/student output=artifacts/model2vec",
        ],
    )


if __name__ == "__main__":
    main()
