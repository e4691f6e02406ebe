"""What serving is asked for and paid with, and what an option comes to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eval.schema.base import Value

Amount = Annotated[float, Field(ge=0.0)]


class Prices(Value):
    """What serving is asked for and what it is paid with; any currency."""

    texts_per_second: Amount = 100.0
    """The load at its peak, texts per second."""
    cores: Annotated[int, Field(ge=1)] = 1
    """Processor cores of an instance; a text takes one of them."""
    busy: Annotated[float, Field(gt=0.0, le=1.0)] = 0.6
    """Share of a core's time that may be used: the rest keeps queues short."""
    memory_mb: Amount = 0.0
    """Memory of an instance, MB; 0: what was measured and what stands beside it."""
    other_memory_mb: Amount = 100.0
    """Memory of an instance beside the serving process, MB."""
    instances: Annotated[int, Field(ge=0)] = 0
    """Instances there are; 0: as many as the load needs."""
    least_instances: Annotated[int, Field(ge=1)] = 2
    """Instances for the load, at least, because one may fail."""
    price_per_core: Amount = 25.0
    """Price of a core for a month."""
    price_per_gb: Amount = 3.5
    """Price of a gigabyte (10^9 bytes) of memory for a month."""


class Bill(Value):
    """What one option costs."""

    instances: int
    memory_gb: float
    """Of one instance."""
    carries: float
    """Texts per second that the instances can take."""
    enough: bool
    """Whether they take the load, and each holds the model in its memory."""
    cost: float
    """Of all instances for a month."""
