"""What nodes ask of a model, wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import PIL.Image


@dataclass(frozen=True)
class Search:
    """A search, with the options of `ttsvar generate` by name."""

    prompt: str | None
    """`None` if the options name a class instead."""
    seed: int
    options: dict[str, Any]
    best: int
    """How many images to return."""
    previews: bool
    """Whether the images of all candidates are shown after every scale."""


@dataclass(frozen=True)
class Found:
    """The result of a search."""

    images: list[PIL.Image.Image]
    """The best images, best first."""
    tree: PIL.Image.Image
    trace: dict[str, Any]


class Watcher(Protocol):
    """Sees a search advance."""

    def begin(self, steps: int | None) -> None:
        """A search of as many scales begins; `None` if a budget decides."""

    def check(self) -> None:
        """Raises an exception if the user wants the search to end."""

    def advance(self, preview: PIL.Image.Image | None) -> None:
        """A scale is complete. Raises an exception if the user wants the search to end."""

    def end(self) -> None:
        """The search is complete."""


class Model(Protocol):
    """A model that searches."""

    def search(self, search: Search, watcher: Watcher) -> Found:
        """Searches for the best images."""


def steps(started: dict[str, Any]) -> int | None:
    """The scales of a search, by its event `started`."""
    if started.get("budget") is not None:
        return None
    return len(started["scales"]) * int(started["plan"].get("rounds", 1))
