"""Graphs timed in turn in one process, under onnxruntime's default options but for one thread."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

RESAMPLES = 2000
SPECIAL = 4  # tokens, the first of the vocabulary, padding among them

Feed = dict[str, NDArray[np.int64]]


def text_of(tokens: int, vocabulary: int, seed: int) -> Feed:
    """One text of so many random tokens, of a vocabulary of that size."""
    ids = np.random.default_rng(seed).integers(SPECIAL, vocabulary, (1, tokens))
    return {"input_ids": ids, "attention_mask": np.ones((1, tokens), np.int64)}


def race(
    graphs: Mapping[str, bytes], tokens: Sequence[int], rounds: int, calls: int, vocabulary: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each graph, (lengths, rounds, calls); vocabulary: tokens that all of them know.

    In each round all sessions are opened anew, in an order drawn by lot: where the weights come to lie in memory is
    worth some percent. Each timed call follows an untimed one of the same graph. The clock is the processor time of
    the calling thread, which does all the work, so that other processes do not count (caches they share with it do).
    """
    generator = np.random.default_rng(seed)
    spent = {name: np.zeros((len(tokens), rounds, calls)) for name in graphs}
    for turn in range(rounds):
        order = generator.permutation(list(graphs))
        sessions = {str(name): open_session(graphs[str(name)]) for name in order}
        for place, length in enumerate(tokens):
            feed = text_of(length, vocabulary, seed + turn)
            for call in range(-2, calls):
                for name in map(str, generator.permutation(list(graphs))):
                    taken = _timed(sessions[name], feed)
                    if call >= 0:
                        spent[name][place, turn, call] = taken
    return spent


def loading(graphs: Mapping[str, bytes], times: int) -> dict[str, NDArray[np.float64]]:
    """Seconds of processor time (all threads) to open a session of each graph, (times,), in turn."""
    spent = {name: np.zeros(times) for name in graphs}
    for turn in range(-1, times):  # the first is not counted: it may load libraries
        for name, graph in graphs.items():
            began = time.process_time_ns()
            session = open_session(graph)
            taken = (time.process_time_ns() - began) / 1e9
            del session
            if turn >= 0:
                spent[name][turn] = taken
    return spent


def ratio(first: NDArray[np.float64], other: NDArray[np.float64], seed: int) -> tuple[float, float, float]:
    """Median of `other` over that of `first`, with a 95 % interval: both (rounds, calls) of one race.

    Percentile bootstrap (Efron 1979), paired: a drawn turn brings the calls of both, since they ran side by side.
    """
    drawn = np.random.default_rng(seed).integers(first.size, size=(RESAMPLES, first.size))
    resampled = np.median(other.ravel()[drawn], axis=1) / np.median(first.ravel()[drawn], axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975]).tolist()
    return float(np.median(other) / np.median(first)), low, high


def profile(graph: bytes, tokens: int, calls: int, vocabulary: int, folder: Path) -> dict[str, tuple[int, float]]:
    """By operator: how many there are and their median milliseconds together, the longest first; its own file of
    events goes to `folder`."""
    options = _options()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
    for _ in range(calls):
        session.run(None, text_of(tokens, vocabulary, 0))
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["args"]["op_name"], event["name"]].append(event["dur"] / 1000)
    found: dict[str, tuple[int, float]] = {}
    for (operator, _), durations in nodes.items():
        count, total = found.get(operator, (0, 0.0))
        found[operator] = count + 1, total + float(np.median(durations))
    return dict(sorted(found.items(), key=lambda entry: -entry[1][1]))


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph, _options(), ["CPUExecutionProvider"])


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _timed(session: onnxruntime.InferenceSession, feed: Feed) -> float:
    """Milliseconds of the second of two calls for the first output."""
    wanted = [session.get_outputs()[0].name]
    session.run(wanted, feed)
    began = time.thread_time_ns()
    session.run(wanted, feed)
    return (time.thread_time_ns() - began) / 1e6
