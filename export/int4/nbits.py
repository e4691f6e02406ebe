"""onnxruntime's own four bits for comparison: `MatMulNBits` and `GatherBlockQuantized` from its own tool."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader

from core.tokenizer import pad
from export.int8.products import find_products
from export.int8.tables import find_tables

Method = Literal["rtn", "hqq", "gptq"]
BLOCK = 64  # inputs with a scale of their own; the tool's GPTQ packs zero points of an even number of blocks only
BY_INTEGERS = 4  # `accuracy_level`: the fastest way to multiply, on activations that were rounded to INT8
TEXTS = 128  # that GPTQ reads; the tool runs the whole graph on each of them for every product
OPSET = 21


def quantise(model: onnx.ModelProto, method: Method, texts: Sequence[Sequence[int]]) -> onnx.ModelProto:
    """A new graph of the same inputs and outputs; texts: ids, which GPTQ alone reads.

    The tool has neither HQQ nor GPTQ for look-ups: the table of words is rounded to the nearest for all three.
    """
    given = onnx.ModelProto()
    given.CopyFrom(model)
    if next(entry.version for entry in given.opset_import if not entry.domain) < OPSET:
        given = version_converter.convert_version(given, OPSET)
    products = {product.nodes[0] for product in find_products(given)}
    tables = find_tables(given)
    for node in given.graph.node:
        node.name = node.output[0]
    rounded = _by_tool(_by_tool(given, "rtn", tables, texts), method, products, texts)
    for node in rounded.graph.node:
        if node.op_type == "MatMulNBits" and not any(one.name == "accuracy_level" for one in node.attribute):
            node.attribute.append(onnx.helper.make_attribute("accuracy_level", BY_INTEGERS))
    onnx.checker.check_model(rounded)
    return rounded


def _by_tool(
    model: onnx.ModelProto, method: Method, chosen: Collection[str], texts: Sequence[Sequence[int]]
) -> onnx.ModelProto:
    """chosen: the names of nodes that are rounded."""
    from onnxruntime.quantization import matmul_nbits_quantizer as tool  # local: it needs onnx_ir

    tool.logger.setLevel(logging.WARNING)  # it names every node
    kept = [node.name for node in model.graph.node if node.name not in chosen]
    match method:
        case "rtn":
            config = tool.DefaultWeightOnlyQuantConfig(BLOCK, op_types_to_quantize=("MatMul", "Gather"))
        case "hqq":
            config = tool.HQQWeightOnlyQuantConfig(BLOCK)
        case "gptq":
            config = tool.GPTQWeightOnlyQuantConfig(_Texts(texts[:TEXTS]), actorder=True)
    quantizer = tool.MatMulNBitsQuantizer(
        model, block_size=BLOCK, accuracy_level=BY_INTEGERS, nodes_to_exclude=kept, algo_config=config
    )
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # bars of progress
        warnings.simplefilter("ignore")  # that it reads arrays that may not be written to
        quantizer.process()
    found: onnx.ModelProto = quantizer.model.model
    return found


class _Texts(CalibrationDataReader):
    """One text after the other, as the graph takes them."""

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        self.texts = iter(list(texts))

    def get_next(self) -> dict[str, NDArray[np.int64]] | None:
        text = next(self.texts, None)
        if text is None:
            return None
        ids, mask = pad([text])
        return {"input_ids": ids, "attention_mask": mask}
