"""Any architecture as an ONNX graph, traced by torch: what is not written by hand."""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from core.model import SentenceEncoder

OPSET = 20  # the last of this exporter, and the first with `Gelu`


class PaddingCut(nn.Module):
    """The encoder on the longest real text of the batch; `last_hidden_state` is filled up with zeros again."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, tokens) int64 each -> (batch, dim), (batch, tokens, hidden)."""
        longest = attention_mask.sum(1).max().clamp(min=1)
        output = self.encoder(input_ids[:, :longest], attention_mask[:, :longest])
        last = output.last_hidden_state
        padding = last.new_zeros(last.shape[0], input_ids.shape[1] - last.shape[1], last.shape[2])
        return output.sentence_embedding, torch.cat([last, padding], dim=1)


def trace(encoder: SentenceEncoder) -> onnx.ModelProto:
    """Inputs and outputs as `export.mpnet.write` has them.

    `dynamo=False`: torch's newer exporter writes weights to a side file and its graphs fail to quantise.
    """
    module = PaddingCut(copy.deepcopy(encoder).float()).eval()
    # Two texts of unequal length with padding behind both, so that tracing sees every dynamic size.
    ids = torch.tensor([[0, 2000, 2001, 2002, 2, 1, 1], [0, 2003, 2, 1, 1, 1, 1]]) % encoder.spec.vocabulary_size
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0]])
    batch_and_tokens = {0: "batch", 1: "tokens"}
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is old (we know), and that a Python number is traced
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            (ids, mask),
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=["sentence_embedding", "last_hidden_state"],
            dynamic_axes={
                "input_ids": batch_and_tokens,
                "attention_mask": batch_and_tokens,
                "sentence_embedding": {0: "batch"},
                "last_hidden_state": batch_and_tokens,
            },
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(path)
    keep_apart(model)
    model.producer_name, model.producer_version = "raxe-distill", ""
    onnx.checker.check_model(model)
    return model


def keep_apart(model: onnx.ModelProto) -> None:
    """Residual sums as `Sum`, so that onnxruntime does not fuse them to its slow SkipLayerNormalization."""
    normed = {node.input[0] for node in model.graph.node if node.op_type == "LayerNormalization"}
    for node in model.graph.node:
        if node.op_type == "Add" and node.output[0] in normed:
            node.op_type = "Sum"
