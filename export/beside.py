"""Time our INT8 graph beside the stock export of the same weights, and show where its time goes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core import cli
from core.errors import UserError
from core.schema import Experiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LENGTHS = (32, 64, 128)
PROFILED = 64
ROUNDS, CALLS = 6, 50
TARGET = 1.25


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Export both, race them, print ratios and profile."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    import tempfile

    from core.checkpoint import read_torch
    from core.data import load
    from core.encoder_config import foreign
    from core.pretrained import load_encoder, read_spec
    from core.spec import FIRST_POSITION
    from core.tokenizer import TextTokenizer
    from export import precision, timing
    from export.graph import to_onnx
    from export.stock import stock_int8

    source = Path(str(experiment.checkpoint))
    checkpoint = read_torch(source)
    spec = read_spec(source)
    if what := foreign(spec):
        raise UserError(
            f"{source} {what}, so sentence-transformers cannot open it and there is no stock export to race: give a"
            " plain MPNet of the same shape"
        )
    if max(LENGTHS) > spec.max_positions - FIRST_POSITION:
        raise UserError(
            f"{source} reads {spec.max_positions - FIRST_POSITION} tokens at most; the race is at up to {max(LENGTHS)}"
        )
    texts = load(experiment.data, experiment.seed, ("train",)).splits["train"].texts
    watched = TextTokenizer.open(source, checkpoint.max_length).encode(
        precision.spread(texts, experiment.export.calibration_texts)
    )
    ((_, graph),) = precision.graphs(to_onnx(load_encoder(source)), ("int8",), watched)
    graphs = {"stock": stock_int8(source), "int8": graph.SerializeToString()}
    spent = timing.race(graphs, LENGTHS, ROUNDS, CALLS, spec.vocabulary_size, experiment.seed)
    for place, tokens in enumerate(LENGTHS):
        print(_sentence(tokens, spent["stock"][place], spent["int8"][place], experiment.seed))
    with tempfile.TemporaryDirectory() as folder:
        profiled = timing.profile(graphs["int8"], PROFILED, CALLS, spec.vocabulary_size, Path(folder))
    print(f"int8 at {PROFILED} tokens, by operator (count, milliseconds together):")
    for operator, (count, milliseconds) in profiled.items():
        print(f"  {operator:24} {count:4} {milliseconds:8.3f}")
    return 0


def _sentence(tokens: int, stock: NDArray[np.float64], ours: NDArray[np.float64], seed: int) -> str:
    """stock, ours: (rounds, calls), milliseconds."""
    import numpy as np

    from export.timing import ratio

    value, low, high = ratio(ours, stock, seed)
    calls = ours.size
    verdict = "reached" if low >= TARGET else "missed" if high < TARGET else "not decided"
    return (
        f"{tokens} tokens: stock {np.median(stock):.2f} ms, int8 {np.median(ours):.2f} ms (medians of {calls} calls):"
        f" {value:.3f} times as fast (95 % interval {low:.3f} to {high:.3f}); {TARGET} is {verdict}"
    )


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="export.beside",
        purpose="Time our INT8 graph beside the stock export of the same weights: one process, one thread, one text.",
        sections=("checkpoint", "seed", "export", "data"),
        needs_checkpoint=True,
        examples=["python -m export.beside --config configs/threats.yaml checkpoint=artifacts/threats/student"],
    )


if __name__ == "__main__":
    main()
