"""What the grid is to show, the most important first: its settings, and the texts that fit each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from eval.schema import Cell

BUCKETS = ((1, 16), (17, 32), (33, 64), (65, 128), (129, 256), (257, 512))
BATCHES = (1, 8, 32)
FULL_WIDTH = 512  # ids that two of the three consumers pad every text to

Ids = Sequence[int]


@dataclass(frozen=True)
class Setting:
    """What one cell of the grid is about."""

    threads: int
    batch: int
    width: int | None
    """Ids that every text is padded to; None: as many as the longest of the batch has."""
    bucket: tuple[int, int]

    @property
    def padding(self) -> str:
        return "dynamic" if self.width is None else str(self.width)

    @property
    def running(self) -> str:
        """Everything but the length, in words."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{threads}, batch {self.batch}, padding {self.padding}"


def label(bucket: tuple[int, int]) -> str:
    """As in 17-32."""
    return f"{bucket[0]}-{bucket[1]}"


def plan(buckets: Collection[tuple[int, int]], cores: int) -> list[Setting]:
    """All settings, the most important first: batch 1 on one thread; then padded; then batches; then threads.

    Threads double from 1 up to the cores, which are always among them.
    """
    threads = sorted({*(2**power for power in range(cores.bit_length())), cores})
    return sorted(
        (
            Setting(count, batch, width, bucket)
            for count in threads
            for batch in BATCHES
            for width in (None, FULL_WIDTH)
            for bucket in buckets
        ),
        key=importance,
    )


def importance(setting: Setting) -> tuple[int, int, bool, tuple[int, int]]:
    """Sort key: the most important setting first."""
    return setting.threads, setting.batch, setting.width is not None, setting.bucket


def by_bucket(tokens: Iterable[Ids]) -> dict[tuple[int, int], list[Ids]]:
    """The texts' ids by the bucket of their number, without empty buckets; texts of no id or over 512 are in none."""
    found: dict[tuple[int, int], list[Ids]] = {bucket: [] for bucket in BUCKETS}
    for ids in tokens:
        for bucket in BUCKETS:
            if bucket[0] <= len(ids) <= bucket[1]:
                found[bucket].append(ids)
    return {bucket: texts for bucket, texts in found.items() if texts}


def not_there(tokens: Sequence[Ids]) -> list[str]:
    """What the grid cannot show of these texts: buckets without one, texts without a bucket."""
    buckets = by_bucket(tokens)
    lines = [f"{label(bucket)} ids: no such text" for bucket in BUCKETS if bucket not in buckets]
    if outside := len(tokens) - sum(map(len, buckets.values())):
        lines.append(f"{outside} texts of no ids, or of more than {BUCKETS[-1][1]}")
    return lines


def without_time(waiting: Iterable[Setting]) -> list[str]:
    """The settings that the time box left out, those that differ in length alone on one line."""
    groups = groupby(sorted(waiting, key=importance), key=lambda setting: setting.running)
    return [f"{running}, {', '.join(label(each.bucket) for each in group)} ids: no time" for running, group in groups]


def expected_seconds(setting: Setting, cells: Mapping[Setting, Cell]) -> float:
    """What one call should take, going by the same texts in the largest smaller batch so far, on however many threads;
    0 where there was none (a single text on one thread, which is the least that can be asked of a model).
    """
    alike = [
        (cell.batch, -cell.p50_ms)
        for at, cell in cells.items()
        if (at.width, at.bucket) == (setting.width, setting.bucket) and at.batch <= setting.batch
    ]
    batch, milliseconds = max(alike, default=(1, 0.0))
    return -milliseconds / 1e3 * setting.batch / batch
