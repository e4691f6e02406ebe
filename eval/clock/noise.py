"""The machine's own noise: a fixed workload timed between the calls, and whether times beside it can be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from core.errors import UserError
from eval.schema import Noise

ROWS, WIDTH, WIDER = 128, 384, 1536  # a feed-forward half of the student over 128 tokens: arithmetic like its own
WORKLOAD = f"FP32 matrix product {ROWS}x{WIDTH} by {WIDTH}x{WIDER} in onnxruntime, one thread"
RUNS_BEFORE = 20  # until the processor's clock and caches have settled
MOST_SLOWDOWN = 1.25  # P95 over P50 of the workload
MOST_DRIFT = 1.10  # last quarter over first, or first over last
FEWEST_SAMPLES = 100  # below, a 95th percentile is the opinion of fewer than five samples


def workload() -> Callable[[], int]:
    """The fixed workload, warmed up: each call runs it once and returns its nanoseconds."""
    session, feed = _session(), {"x": np.full((ROWS, WIDTH), 0.5, np.float32)}

    def run() -> int:
        start = time.perf_counter_ns()
        session.run(None, feed)
        return time.perf_counter_ns() - start

    for _ in range(RUNS_BEFORE):
        run()
    return run


def noise(reference: NDArray[np.int64]) -> Noise:
    """The judgement from the workload's times, (samples,) nanoseconds in the order in which they ran.

    The slowdown tells of interruptions, the drift of a machine that heats up or of a neighbour that came. What slows
    every run alike, such as a slower machine, shows in neither. UserError: no sample.
    """
    if not len(reference):
        raise UserError("the machine's noise needs at least one timed run of the reference workload, there is none")
    p50, p95 = (float(value) for value in np.percentile(reference, (50, 95)) / 1e6)
    quarter = -(-len(reference) // 4)
    first, last = float(np.median(reference[:quarter])), float(np.median(reference[-quarter:]))
    slowdown, drift = p95 / p50, last / first
    reasons = []
    if len(reference) < FEWEST_SAMPLES:
        reasons.append(f"it ran only {len(reference)} times, and {FEWEST_SAMPLES} are needed to judge")
    if slowdown > MOST_SLOWDOWN:
        reasons.append(
            f"its slowest twentieth took {slowdown:.2f} times its median or more, and {MOST_SLOWDOWN} is fine"
        )
    if not 1 / MOST_DRIFT <= drift <= MOST_DRIFT:
        reasons.append(f"it ended at {drift:.2f} times the time it began with, and {MOST_DRIFT:.2f} either way is fine")
    return Noise(
        workload=WORKLOAD, samples=len(reference), p50_ms=p50, p95_ms=p95, slowdown=slowdown, drift=drift,
        trusted=not reasons, sentence=_sentence(reasons, p50, slowdown, drift),
    )  # fmt: skip


def _sentence(reasons: list[str], p50: float, slowdown: float, drift: float) -> str:
    if reasons:
        return (
            "The machine was too noisy for these times to be trusted; repeat them on a quiet one. A fixed workload of"
            f" {p50:.2f} ms ran between the calls: {'; '.join(reasons)}."
        )
    return (
        f"The machine was quiet: a fixed workload of {p50:.2f} ms that ran between the calls had a P95 of"
        f" {slowdown:.2f} times its median and ended at {drift:.2f} times the time it began with."
    )


def _session() -> onnxruntime.InferenceSession:
    """The matrix product as a graph built in memory, on the calling thread alone."""
    import onnx  # only where the clock runs: reading a report needs none

    weight = np.random.default_rng(0).standard_normal((WIDTH, WIDER), dtype=np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "reference",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (ROWS, WIDTH))],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (ROWS, WIDER))],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
