"""The values inside a graph while it reads texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx
import onnxruntime
from numpy.typing import NDArray

from core.errors import UserError
from core.tokenizer import pad


def watch(model: onnx.ModelProto, names: Sequence[str], texts: Sequence[Sequence[int]]) -> Iterator[dict[str, NDArray]]:
    """The tensors of these names for the ids of each text alone, so that no padding counts; UserError without texts."""
    if not texts:
        raise UserError("fixed activation scales need texts to be measured on; give data.train some rows")
    if not names:  # token vectors alone: a runtime refuses to give nothing
        return
    open_graph = onnx.ModelProto()
    open_graph.CopyFrom(model)
    del open_graph.graph.output[:]
    open_graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(open_graph.SerializeToString(), options, ["CPUExecutionProvider"])
    for text in texts:
        ids, mask = pad([text])
        yield dict(zip(names, session.run(names, {"input_ids": ids, "attention_mask": mask}), strict=True))
