"""What a checkpoint costs: time, memory, bytes."""

from __future__ import annotations

from pydantic import model_validator

from eval.schema.base import Interval, Value, agree


class Percentiles(Value):
    """Milliseconds; percentiles interpolate linearly, the standard deviation is that of these calls."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    std_ms: float


class LatencyIntervals(Value):
    """95 % intervals of the percentiles, from the order of the calls (distribution-free)."""

    p50_ms: Interval
    p90_ms: Interval
    p95_ms: Interval
    p99_ms: Interval


class Noise(Value):
    """How far the machine itself wavered: a fixed workload that ran between the calls."""

    workload: str
    samples: int
    p50_ms: float
    p95_ms: float
    slowdown: float
    """P95 over P50 of the workload: 1 on a quiet machine."""
    drift: float
    """Median of its last quarter over that of its first: 1 on a steady machine."""
    trusted: bool
    """False: another run on a quieter machine is needed before anything is concluded from these milliseconds."""
    sentence: str
    """The judgement in words, with its numbers."""


class Latency(Percentiles):
    """One text from string to decision: batch 1, after warm-up, texts in random order."""

    calls: int
    texts: int
    """Distinct texts among them."""
    threads: int
    intervals: LatencyIntervals
    stages: dict[str, Percentiles]
    """The same calls by stage: tokenise, encode, classify, post-process."""
    noise: Noise


class Cell(Value):
    """One cell of the grid."""

    tokens: str
    """Bucket of the texts' ids, for example 17-32."""
    threads: int
    batch: int
    padding: str
    """dynamic: to the longest text of the batch; else the width every text is padded to, as two consumers do."""
    calls: int
    p50_ms: float
    """Of a whole batch, encode only."""
    p95_ms: float
    texts_per_second: float


class Grid(Value):
    """Encoding time by length, threads, batch and padding, within a time box."""

    seconds: float
    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]
    """Cells that the time box, or the lack of texts that long, left out."""


class Throughput(Value):
    """Texts per second when callers always have the next text ready."""

    callers: int
    """Concurrent callers, each with one thread."""
    seconds: float
    texts: int
    texts_per_second: float
    p95_ms: float
    """Of a call under this load."""


class ColdStart(Value):
    """From nothing to the first decision, in a process of its own, seconds."""

    import_s: float
    """Importing core.pipeline; the interpreter's own start is not in it."""
    open_s: float
    """Hashes verified, graph and heads loaded; a PyTorch folder imports torch here."""
    first_call_s: float


class Resources(Value):
    """Megabytes are 10^6 bytes; None where only the size was measured."""

    model_size_mb: float
    """Every byte of the folder."""
    bytes_by_group: dict[str, int]
    """The same bytes by what they are for."""
    memory_usage_mb: float | None = None
    """Peak resident memory of a process of its own, interpreter and libraries included."""
    steady_memory_mb: float | None = None
    """Resident memory of that process after its calls."""
    cpu_usage_percent: float | None = None
    """Processor time over wall time of its calls; 100 is one busy core."""
    cold_start: ColdStart | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Resources:
        agree("resources.model_size_mb", self.model_size_mb, sum(self.bytes_by_group.values()) / 1e6)
        return self
