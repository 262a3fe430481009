"""A loaded model and the results of its searches."""

from __future__ import annotations

import json
import operator
import os
import secrets
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import ArrayLike, NDArray

from . import _native

OPTIONS: tuple[str, ...] = tuple(_native.option_names())
"""The names of all options of a search."""

Method: TypeAlias = Literal[
    "raw", "best-of-n", "importance", "beam", "draft", "sequential", "auto", "tts-var"
]
"""The names of the search methods."""

ImageLike: TypeAlias = "PIL.Image.Image | NDArray[np.uint8]"
"""An image: a Pillow image, or an array (H, W, 3) of uint8."""

Picture: TypeAlias = ImageLike
"""The former name of `ImageLike`."""

Event: TypeAlias = dict[str, Any]
"""An event of a search, with the names and fields of the server's event streams. The key `event` is
its name: started, scale, candidates, decoded, scores, selection, warning or winner. Images are
arrays of uint8."""

Listener: TypeAlias = Callable[[Event], object]
"""Called with every event of a search. An exception that it raises ends the search."""

Scorer: TypeAlias = Callable[[str, NDArray[np.uint8]], ArrayLike]
"""`scorer(prompt, images)` returns scores (B,) for images (B, H, W, 3) of uint8; the image with the
highest score is the best."""

Extractor: TypeAlias = Callable[[NDArray[np.uint8]], ArrayLike]
"""`extractor(images)` returns features (B, D) for images (B, H, W, 3) of uint8, by which images are
clustered."""


_OTHER_FORMATS = {
    ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".svg", ".pdf",
    ".json", ".toml", ".txt", ".htm", ".html",
}  # fmt: skip


class SearchWarning(UserWarning):
    """An anomaly that did not stop a search: a prompt that is cut, words that the generator does not
    know, scores that are NaN. The same warnings are in `Result.trace["warnings"]`."""


@dataclass(frozen=True)
class Result:
    """The result of a search."""

    images: list[PIL.Image.Image]
    """All finished images, in the order of `trace["finals"]`."""
    best: int
    """The index of the winner in `images`."""
    trace: dict[str, Any]
    """The record of the search, as `--trace` writes it: candidates, selections, scores, cost."""

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
        """The seed of the search. The same search with the same seed finds the same image."""
        return int(self.trace["seed"])

    def png(self) -> bytes:
        """The winner as the command line writes it: a PNG that records how it was generated."""
        return _native.png(np.asarray(self.image), json.dumps(self.trace))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `png()` to a file, atomically. `ttsvar generate --from` generates the image again,
        and `ttsvar inspect` shows how it was generated. Raises ValueError for names of other formats
        than PNG."""
        suffix = PurePath(os.fsdecode(path)).suffix.lower()
        if suffix in _OTHER_FORMATS:
            raise ValueError(
                f"expected the name of a .png file, found {os.fspath(path)!r}; "
                f"`result.image.save(...)` writes other formats, without the record of the search"
            )
        _native.write(path, self.png())

    def _repr_png_(self) -> bytes:
        return self.png()

    def __repr__(self) -> str:
        prompt = self.trace["prompt"]
        decodes = self.trace["cost"]["decodes"]
        cost = f"seed {self.seed}, {decodes} decodes"
        return f"<ttsvar.Result {prompt!r}: score {self.score:.3f}, {cost}>"


class Pipeline:
    """A generator with its scorers, loaded once for any number of searches."""

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
        state_dict: str | None = None,
    ) -> Pipeline:
        """Loads `demo`, a released model whose files are in the folder `weights`, or a folder with
        a bundle.toml.

        `dtype` is f32 or bf16, `device` is cpu or cuda (in a package that was built for it).
        `scorer` replaces the default scorer of the model: one of those of
        `ttsvar generate --scorer`, or a mix such as "image-reward=1,hps=2". `state_dict` names the
        one to read in checkpoints with several that fit, such as "ema". The server of the scorer
        openai comes from the environment (TTSVAR_OPENAI_URL, TTSVAR_OPENAI_MODEL, OPENAI_API_KEY).
        What is unusual about the files is reported as `SearchWarning`.
        """
        system = _native.System.open(
            os.fspath(model), weights, dtype, device, scorer, state_dict
        )
        for notice in system.notices():
            warnings.warn(notice, SearchWarning, stacklevel=2)
        return cls(system)

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._system.name

    @property
    def words(self) -> list[str] | None:
        """The vocabulary of the model, if it is limited."""
        return self._system.words

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that the model does not know."""
        return self._system.unknown_words(prompt)

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes of the model in the order of their numbers, if it generates
        images of classes."""
        return self._system.classes

    def generate(
        self,
        prompt: str | None = None,
        *,
        method: Method | None = None,
        seed: int | None = None,
        scorer: Scorer | None = None,
        extractor: Extractor | None = None,
        on_event: Listener | None = None,
        decode_all: bool = False,
        **options: Any,
    ) -> Result:
        """Searches for the best image for `prompt`, or with a model of classes for `class_`: the
        number or the name of a class, or the beginning of a name.

        `options` are those of `ttsvar generate`, with the names in `ttsvar.OPTIONS`: n, plan, cfg and so on; `lambda` is spelled `lambda_` and `class` `class_`. Options that are not given have the
        model's defaults. `cfg`, `tau` and `top_p` are numbers, or lists over the scales. `plan` is a dictionary with the keys of a plan file, the text of one, or
        its path. `steer` is "auto", "off", or the same three forms of a steering file. `questions` is "auto", a list of
        dictionaries with `prompt` and `questions`, the text of a file, or its path. Without a `seed`, or with -1, a random one is used.

        `scorer` replaces the scorers of the model, and `extractor` its features wherever the plan
        clusters. `on_event` is called with every event. With `decode_all` it receives the images
        after every scale, which costs additional decodes; the trace counts them apart, as
        `previews`.

        Anomalies are reported as `SearchWarning`.

        Other threads run during the search. Ctrl-C ends it within a second.
        """
        if isinstance(scorer, str):
            raise TypeError(
                f"scorer must be a callable; Pipeline.load(..., scorer={scorer!r}) takes names"
            )
        options["method"] = method
        arrays, trace, best = self._system.generate(
            prompt, named_options(options), seed_number(seed), scorer, extractor, on_event, decode_all
        )
        warn(_native.trace_warnings(trace), stacklevel=3)
        images = [PIL.Image.fromarray(array) for array in arrays]
        return Result(images, best, json.loads(trace))

    def score(self, prompt: str, images: ImageLike | Sequence[ImageLike]) -> NDArray[np.float32]:
        """The scores of images by the first scorer of the model. Higher is better."""
        if isinstance(images, PIL.Image.Image):
            images = [images]
        elif isinstance(images, np.ndarray) and images.ndim == 3:
            images = [images]
        warn(self._system.score_warnings(prompt), stacklevel=3)
        return self._system.score(prompt, [_to_array(image) for image in images])

    def __repr__(self) -> str:
        return f"<ttsvar.Pipeline {self.name!r}>"


def seed_number(seed: int | None) -> int:
    """The seed, or a random one for None and -1."""
    if seed is None:
        return secrets.randbits(32)
    try:
        number = operator.index(seed)
    except TypeError:
        raise ValueError(f"seed must be a whole number, found {seed!r}") from None
    if number == -1:
        return secrets.randbits(32)
    if not 0 <= number < 2**64:
        raise ValueError(f"seed must be from 0 to 2**64 - 1, or -1 for a random one, found {seed}")
    return number


def warn(messages: Iterable[str], stacklevel: int) -> None:
    """Passes messages to Python's `warnings`. `stacklevel` counts from this function."""
    for message in messages:
        warnings.warn(message, SearchWarning, stacklevel=stacklevel)


def named_options(given: Mapping[str, Any], more: Iterable[str] = ()) -> dict[str, Any]:
    """Keyword arguments with the names of the options: in Python, `lambda` is a keyword."""
    options = {name.rstrip("_"): value for name, value in given.items()}
    known = [*OPTIONS, *more]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"unknown arguments {', '.join(unknown)}; known are {', '.join(known)}")
    return options


def _to_array(image: ImageLike) -> NDArray[np.uint8]:
    if isinstance(image, PIL.Image.Image):
        image = np.asarray(image.convert("RGB"))
    array = np.ascontiguousarray(image)
    if array.dtype != np.uint8 or array.ndim != 3:
        raise ValueError(
            "an image must be an array (H, W, 3) of uint8, "
            f"found {array.dtype} of shape {array.shape}"
        )
    return array
