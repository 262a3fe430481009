"""What a call of a pipeline, as in diffusers, is made of: prompts, seeds, steps and its output."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from ._pipeline import Event, Pipeline, Result


class SeededGenerator(Protocol):
    """A source of random numbers that knows its seed, such as `torch.Generator`."""

    def initial_seed(self) -> int:
        """The seed."""


Generator: TypeAlias = "int | SeededGenerator"
"""A seed, or an object that has one."""

StepCallback: TypeAlias = "Callable[[Pipeline, int, int, dict[str, Any]], object]"
"""`callback(pipe, step, timestep, kwargs)`, called after every scale. `step` counts the scales that
a search computed, from 0, and `timestep` is the number of the scale."""

Images = TypeVar("Images")


@dataclass(frozen=True)
class PipelineOutput(Generic[Images]):
    """What a call of a pipeline returns."""

    images: Images
    """The images: prompt by prompt, those of a prompt one after the other."""
    results: list[Result]
    """The searches that found them, with their traces."""


class Interrupted(Exception):
    """Ends a search whose pipeline was told to stop."""


def seeds_of(
    generator: Generator | Sequence[Generator] | None, prompts: int, searches: int
) -> list[int]:
    """The seeds of `searches` searches for each of `prompts` prompts, one prompt after the other. A
    single seed counts up, and so does one per prompt within the prompt."""
    if generator is None:
        generator = secrets.randbits(32)
    if isinstance(generator, Sequence):
        seeds = [_seed(one) for one in generator]
        if len(seeds) == prompts * searches:
            return seeds
        if len(seeds) != prompts:
            raise ValueError(
                f"generator has {len(seeds)} elements, expected one per prompt ({prompts}) or one "
                f"per image ({prompts * searches})"
            )
        return [(seed + index) % 2**64 for seed in seeds for index in range(searches)]
    first = _seed(generator)
    return [(first + index) % 2**64 for index in range(prompts * searches)]


def _seed(generator: Generator) -> int:
    from ._pipeline import seed_number

    if isinstance(generator, int):
        return seed_number(generator)
    try:
        return seed_number(generator.initial_seed())
    except AttributeError:
        raise TypeError(
            "generator must be a seed, or an object with `initial_seed()` such as "
            f"torch.Generator, found {type(generator).__name__}"
        ) from None


class Steps:
    """A listener that calls a callback once per scale, and ends the search if the pipeline was
    interrupted."""

    def __init__(self, pipeline: Pipeline, callback: StepCallback | None, previews: bool) -> None:
        self._pipeline = pipeline
        self._callback = callback
        self._last = "decoded" if previews else "candidates"
        self._step = 0

    def __call__(self, event: Event) -> None:
        if event["event"] == self._last:
            self._end_step(event)
        if self._pipeline.interrupt:
            raise Interrupted

    def _end_step(self, event: Event) -> None:
        if self._callback is None:
            return
        kwargs = {"images": event["images"]} if "images" in event else {}
        self._callback(self._pipeline, self._step, int(event["scale"]), kwargs)
        self._step += 1
