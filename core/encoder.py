"""The Encoder protocol (text in, L2-normalised embedding out) and the ONNX encoder, which needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from core.errors import UserError
from core.tokenizer import TextTokenizer, pad

GRAPH_PATTERN = "embeddings*.onnx"
EMBEDDING_OUTPUT = "sentence_embedding"
PATIENCE = 2.0  # seconds before a progress bar shows


class Encoder(Protocol):
    """What the pipeline needs of a model."""

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """What the model reads of each text, as ids."""
        ...

    def whole(self, text: str, ids: Sequence[int]) -> bool:
        """Whether these ids, which `tokenise` gave for it, reach to the end of the text; False where that is open."""
        ...

    def embed(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> NDArray[np.float32]:
        """One batch of ids -> (texts, dim), padded to its longest text or to `width` ids."""
        ...

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """(texts, dim), each row of length 1, in the order given, computed as the model is served."""
        ...

    def use_threads(self, threads: int) -> None:
        """How many threads one call may use."""
        ...

    @property
    def dimension(self) -> int:
        """Width of the embedding."""
        ...


def graph_path(folder: Path) -> Path:
    """The one embedding graph of a serving folder."""
    graphs = sorted(folder.glob(GRAPH_PATTERN))
    if len(graphs) != 1:
        raise UserError(f"{folder} holds {len(graphs)} files {GRAPH_PATTERN}; a serving folder has exactly one")
    return graphs[0]


class OnnxEncoder:
    """An exported graph in onnxruntime under its default optimisations, as consumers open it."""

    def __init__(self, folder: Path, max_length: int, threads: int = 1) -> None:
        self._path = graph_path(folder)
        self._tokenizer = TextTokenizer.open(folder, max_length)
        self._threads = 0
        self.use_threads(threads)

    def use_threads(self, threads: int) -> None:
        if threads == self._threads:
            return
        self._threads = threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(self._path), options, ["CPUExecutionProvider"])

    @property
    def dimension(self) -> int:
        widths = {output.name: output.shape[-1] for output in self._session.get_outputs()}
        return int(widths[EMBEDDING_OUTPUT])

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """One text at a time whatever `batch_size` says: dynamic INT8 takes its activation scale over the whole batch
        (onnxruntime issues 8625, 10111), so in company a text would get another embedding than when served.
        """
        from tqdm import tqdm  # a guard that answers one text at a time never needs it, and opens sooner

        tokens = self.tokenise(texts)
        shown = tqdm(tokens, desc="encoding", unit="text", delay=PATIENCE, leave=False, disable=len(tokens) == 1)
        rows = [self.embed([ids]) for ids in shown]
        return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return self._tokenizer.encode(texts)

    def whole(self, text: str, ids: Sequence[int]) -> bool:
        return len(ids) < self._tokenizer.max_length

    def embed(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> NDArray[np.float32]:
        input_ids, mask = pad(tokens, width)
        feed = {"input_ids": input_ids, "attention_mask": mask}
        embedding: NDArray[np.float32] = self._session.run([EMBEDDING_OUTPUT], feed)[0]
        return embedding
