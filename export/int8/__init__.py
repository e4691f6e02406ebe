"""INT8 graphs: what is watched on texts, which integers follow, and how the graph is rewritten."""

from export.int8.observe import observe
from export.int8.rewrite import quantise

__all__ = ["observe", "quantise"]
