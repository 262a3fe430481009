"""A loaded model and what its searches find."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import ArrayLike, NDArray

from . import _native

OPTIONS: tuple[str, ...] = tuple(_native.option_names())
"""The names of the options of a search."""

Picture: TypeAlias = "PIL.Image.Image | NDArray[np.uint8]"
"""An image: of Pillow, or an array (H, W, 3) of uint8."""

Event: TypeAlias = dict[str, Any]
"""Something that happened in a search, with the names and fields of the server's event streams; `event` names it: started,
scale, candidates, decoded, scores, selection, warning, winner. Images in it are arrays of uint8."""

Listener: TypeAlias = Callable[[Event], object]
"""Hears every event of a search. What it raises ends the search."""

Scorer: TypeAlias = Callable[[str, NDArray[np.uint8]], ArrayLike]
"""`scorer(prompt, images)`: images are (B, H, W, 3) uint8, the scores (B,); higher is better."""

Extractor: TypeAlias = Callable[[NDArray[np.uint8]], ArrayLike]
"""`extractor(images)`: images are (B, H, W, 3) uint8, the features (B, D); images are told apart by them."""


@dataclass(frozen=True)
class Result:
    """What a search found."""

    images: list[PIL.Image.Image]
    """Every image that was painted to the end, in the order of `trace["finals"]`."""
    best: int
    """The place of the winner among them."""
    trace: dict[str, Any]
    """The record of the search, as `--trace` writes it: candidates, choices, scores, cost."""

    @property
    def image(self) -> PIL.Image.Image:
        """The winner."""
        return self.images[self.best]

    @property
    def scores(self) -> list[float]:
        """The scores of `images`."""
        return [float(final["score"]) for final in self.trace["finals"]]

    @property
    def score(self) -> float:
        """The score of the winner."""
        return self.scores[self.best]

    @property
    def seed(self) -> int:
        """The seed of all draws: with it, the same search finds the same image."""
        return int(self.trace["seed"])

    def png(self) -> bytes:
        """The winner as the command line writes it: a PNG that says how it was painted."""
        return _native.png(np.asarray(self.image), json.dumps(self.trace))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `png()`, whole or not at all. `ttsvar generate --from` repeats the picture, `ttsvar inspect` explains it."""
        _native.write(path, self.png())

    def _repr_png_(self) -> bytes:
        return self.png()

    def __repr__(self) -> str:
        prompt, decodes = self.trace["prompt"], self.trace["cost"]["decodes"]
        return f"<ttsvar.Result {prompt!r}: score {self.score:.3f}, seed {self.seed}, {decodes} decodes>"


class Pipeline:
    """A generator with the networks that judge its images, loaded once and good for any number of searches."""

    def __init__(self, system: _native.System) -> None:
        self._system = system

    @classmethod
    def load(
        cls,
        model: str = "demo",
        weights: str | os.PathLike[str] | None = None,
        dtype: str = "f32",
        device: str = "cpu",
        scorer: str | None = None,
    ) -> Pipeline:
        """Loads `demo`, a released model whose downloads lie in the folder `weights`, or a folder with a bundle.toml.

        `dtype` is f32 or bf16, `device` cpu or cuda (in a package that was built for it). `scorer` names who judges instead of
        the model's usual scorer: one of those of `ttsvar generate --scorer`, or a mix such as "image-reward=1,hps=2".
        """
        return cls(_native.System.open(os.fspath(model), weights, dtype, device, scorer))

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._system.name

    @property
    def words(self) -> list[str] | None:
        """The only words that the model knows, if they are few."""
        return self._system.words

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that the model does not know."""
        return self._system.unknown_words(prompt)

    def generate(
        self,
        prompt: str,
        *,
        seed: int | None = None,
        scorer: Scorer | None = None,
        extractor: Extractor | None = None,
        on_event: Listener | None = None,
        decode_all: bool = False,
        **options: Any,
    ) -> Result:
        """Searches for the best image of `prompt`. `options` are those of `ttsvar generate`, by the names in `ttsvar.OPTIONS`:
        method, n, plan, cfg and so on; `lambda` is spelled `lambda_`. Defaults are the model's.

        `plan` is a dictionary with the keys of a plan file, the text of one, or its path. `seed` is a new one each time where
        none is given. `scorer` takes the place of those that were loaded, `extractor` that of its features wherever the plan clusters.
        `on_event` hears how it goes; with `decode_all` it sees the images after every scale, at the cost of decoding them.

        Other threads run meanwhile; Ctrl-C ends the search at its next event.
        """
        if isinstance(scorer, str):
            raise TypeError(f"scorer is a callable here; Pipeline.load(..., scorer={scorer!r}) takes names")
        chosen = secrets.randbits(32) if seed is None else seed
        arrays, trace, best = self._system.generate(prompt, named_options(options), chosen, scorer, extractor, on_event, decode_all)
        return Result([PIL.Image.fromarray(array) for array in arrays], best, json.loads(trace))

    def score(self, prompt: str, images: Picture | Sequence[Picture]) -> NDArray[np.float32]:
        """What the scorer that was loaded, of several the first, thinks of images: one number each; higher is better."""
        if isinstance(images, PIL.Image.Image) or (isinstance(images, np.ndarray) and images.ndim == 3):
            return self._system.score(prompt, [_array(images)])
        return self._system.score(prompt, [_array(picture) for picture in images])

    def __repr__(self) -> str:
        return f"<ttsvar.Pipeline {self.name!r}>"


def named_options(given: Mapping[str, Any], more: Iterable[str] = ()) -> dict[str, Any]:
    """Keyword arguments by the names of the options: Python cannot call one `lambda`."""
    options = {name.rstrip("_"): value for name, value in given.items()}
    known = [*OPTIONS, *more]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"unknown arguments {', '.join(unknown)}; known are {', '.join(known)}")
    return options


def _array(picture: Picture) -> NDArray[np.uint8]:
    if isinstance(picture, PIL.Image.Image):
        picture = np.asarray(picture.convert("RGB"))
    array = np.ascontiguousarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3:
        raise ValueError(f"an image is an array (H, W, 3) of uint8, found {array.dtype} of shape {array.shape}")
    return array
