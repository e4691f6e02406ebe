"""Integers that a file holds packed, and that onnxruntime unpacks by constant folding when a session loads.

What unpacks them reads constants alone, so that under default options one INT8 constant is left of it and a packed
graph runs as fast as one of plain bytes. Another packing is another function of the form `Hold`.
"""

from export.codec.blocks import Hold, pack
from export.codec.nibbles import nibbles
from export.codec.nonzero import nonzero
from export.codec.octets import octets

__all__ = ["Hold", "nibbles", "nonzero", "octets", "pack"]
