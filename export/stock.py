"""The stock INT8 export of a checkpoint, as sentence-transformers and optimum make it for AVX512-VNNI."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
from pathlib import Path

STOCK = "avx512_vnni"


def stock_int8(checkpoint: Path) -> bytes:
    """The graph of `export_dynamic_quantized_onnx_model`: token states alone, for pooling and projection stay outside.

    checkpoint: a folder in the layout of sentence-transformers; it is copied first, since theirs writes beside it.
    """
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    logging.disable(logging.WARNING)  # theirs warn of what is meant so
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(temporary) / "stock"
        shutil.copytree(checkpoint, folder)
        with contextlib.redirect_stdout(io.StringIO()):
            model = SentenceTransformer(str(folder), backend="onnx", device="cpu")
            export_dynamic_quantized_onnx_model(model, STOCK, str(folder))
        logging.disable(logging.NOTSET)
        (path,) = (folder / "onnx").glob(f"*{STOCK}.onnx")
        return path.read_bytes()
