"""Mean and covariance of what enters a matrix: where an error of its weights matters, and where it does not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GATHERED = 4096  # rows whose squares are summed by one product


@dataclass(frozen=True)
class Moments:
    """Of rows that enter a product."""

    mean: Tensor  # (inputs,) float64
    covariance: Tensor  # (inputs, inputs) float64


class Sums:
    """Rows added up as they come."""

    def __init__(self) -> None:
        self.waiting: list[Tensor] = []
        self.rows = 0
        self.first: Tensor | float = 0.0
        self.second: Tensor | float = 0.0

    def add(self, rows: Tensor) -> None:
        """rows: (tokens, inputs) float32"""
        self.waiting.append(rows)
        if sum(len(part) for part in self.waiting) >= GATHERED:
            self._sum()

    def moments(self) -> Moments:
        self._sum()
        mean = torch.as_tensor(self.first) / self.rows
        second = torch.as_tensor(self.second) / self.rows
        return Moments(mean, second - torch.outer(mean, mean))

    def _sum(self) -> None:
        if self.waiting:
            rows = torch.cat(self.waiting)
            self.first = self.first + rows.double().sum(0)
            self.second = self.second + (rows.T @ rows).double()  # float32 squares of 4096 rows err by 1e-6
            self.rows += len(rows)
            self.waiting = []
