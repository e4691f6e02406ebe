"""INT8 graphs: what texts show of an FP32 graph, and how it is centred and rewritten in integers."""

from export.int8.centre import centre
from export.int8.observe import observe
from export.int8.rewrite import quantise
from export.int8.trained import as_trained

__all__ = ["as_trained", "centre", "observe", "quantise"]
