"""What a report says: frozen values that refuse to be built from figures that contradict each other."""

from eval.schema.accuracy import Accuracy, Bin, Intervals, Sensitivity, Slice
from eval.schema.base import Interval, Value
from eval.schema.costs import (
    Cell,
    ColdStart,
    Grid,
    Latency,
    LatencyIntervals,
    Noise,
    Percentiles,
    Resources,
    Throughput,
)
from eval.schema.report import SYNTHETIC, VERSION, Hardware, Judgement, Overlap, Report, Threshold, Word

__all__ = [
    "SYNTHETIC",
    "VERSION",
    "Accuracy",
    "Bin",
    "Cell",
    "ColdStart",
    "Grid",
    "Hardware",
    "Interval",
    "Intervals",
    "Judgement",
    "Latency",
    "LatencyIntervals",
    "Noise",
    "Overlap",
    "Percentiles",
    "Report",
    "Resources",
    "Sensitivity",
    "Slice",
    "Threshold",
    "Throughput",
    "Value",
    "Word",
]
