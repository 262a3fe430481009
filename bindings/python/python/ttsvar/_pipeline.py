"""A loaded model and the results of its searches."""

from __future__ import annotations

import base64
import html
import io
import json
import operator
import os
import secrets
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
import PIL.Image
from numpy.typing import ArrayLike, NDArray

from . import _native, _pretrained
from ._call import Generator, Interrupted, PipelineOutput, StepCallback, Steps, seeds_of
from ._options import Method
from ._progress import SearchProgress, in_notebook

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._options import SearchOptions

OPTIONS: tuple[str, ...] = tuple(_native.option_names())
"""The names of all options of a search."""

ImageLike: TypeAlias = "PIL.Image.Image | NDArray[np.uint8]"
"""An image: a Pillow image, or an array (H, W, 3) of uint8."""

MaskLike: TypeAlias = "PIL.Image.Image | NDArray[np.uint8] | NDArray[np.bool_]"
"""The mask of an edit: an array (H, W) that is True or 255 where the image is regenerated, or an
image that is white there, or transparent if it has transparent pixels."""

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
    """An anomaly that did not stop a search: a truncated prompt, words that the generator does not
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
    _album: _native.Album | None = field(default=None, repr=False, compare=False)
    """Small images of the candidates, for the tree. They are lost when a result is pickled."""
    _kept: int = field(default=1, repr=False, compare=False)
    """How many images the caller asked for."""

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

    @property
    def ranking(self) -> list[int]:
        """The indices of `images`, best first."""
        return _native.ranking(json.dumps(self.trace))

    def best_images(self, k: int | None = None) -> list[PIL.Image.Image]:
        """The `k` best of `images`, best first; by default, as many as `Pipeline.generate` was
        asked for with `best`. A search that stops early may have finished fewer."""
        count = self._kept if k is None else k
        if count < 1:
            raise ValueError(f"k must be 1 or more, found {count}")
        return [self.images[place] for place in self.ranking[:count]]

    def tree(self) -> PIL.Image.Image:
        """The search as a tree of images: one row per stage, every decoded candidate with its
        score, and lines to its children."""
        trace = json.dumps(self.trace)
        return PIL.Image.fromarray(_native.tree(trace, np.asarray(self.image), self._album))

    def report(self) -> str:
        """The whole search as one page of HTML."""
        return _native.page(json.dumps(self.trace), np.asarray(self.image), self._album)

    def png(self, index: int | None = None) -> bytes:
        """The winner, or the image with an index, as the command line writes it: a PNG that records
        how it was generated. For an image other than the winner, the record contains the scores of that
        image; repeating the recorded search finds all of them."""
        place = self.best if index is None else range(len(self.images))[index]
        return _native.png(np.asarray(self.images[place]), json.dumps(self.trace), place)

    def save(self, path: str | os.PathLike[str], index: int | None = None) -> None:
        """Writes `png(index)` to a file, atomically. `ttsvar generate --from` generates the winner
        again, and `ttsvar inspect` shows how it was generated. Raises ValueError for file names of
        formats other than PNG."""
        suffix = PurePath(os.fsdecode(path)).suffix.lower()
        if suffix in _OTHER_FORMATS:
            raise ValueError(
                f"expected the name of a .png file, found {os.fspath(path)!r}; "
                f"`result.image.save(...)` writes other formats, without the record of the search"
            )
        _native.write(path, self.png(index))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_album": None}

    def _repr_png_(self) -> bytes:
        return self.png()

    def _repr_html_(self) -> str:
        """The winner and the tree, for notebooks."""
        tree = io.BytesIO()
        self.tree().save(tree, "png")
        caption = html.escape(repr(self).strip("<>"))
        return (
            f"<figure>{_img(self.png(), 'the winner')}<figcaption>{caption}</figcaption></figure>"
            f"<details open><summary>the search</summary>{_img(tree.getvalue(), 'the tree')}"
            "</details>"
        )

    def __repr__(self) -> str:
        prompt = self.trace["prompt"]
        decodes = self.trace["cost"]["decodes"]
        cost = f"seed {self.seed}, {decodes} decodes"
        return f"<ttsvar.Result {prompt!r}: score {self.score:.3f}, {cost}>"


class Pipeline:
    """A generator with its scorers, loaded once for any number of searches."""

    interrupt: bool = False
    """Set this to True during a call, from a callback or another thread, to end the call after the
    current scale."""

    def __init__(self, system: _native.System, source: _pretrained.Source | None = None) -> None:
        self._system = system
        self._source = source

    @classmethod
    def load(
        cls,
        model: str = "demo",
        weights: str | os.PathLike[str] | None = None,
        dtype: str = "f32",
        device: str = "cpu",
        scorer: str | None = None,
        state_dict: str | None = None,
        text_dtype: str | None = None,
    ) -> Self:
        """Loads `demo`, a released model whose files are in the folder `weights`, or a folder with
        a bundle.toml.

        `dtype` is f32, bf16 or q8, `device` is cpu or cuda (in a package that was built for it).
        `text_dtype` is the type of the text encoder, if it differs.
        `scorer` replaces the default scorer of the model: any that `ttsvar generate --scorer`
        accepts, or a mix such as "image-reward=1,hps=2". `state_dict` names the state dict to read
        from checkpoints with several that fit, such as "ema". The server for the scorer openai is
        set by environment variables (TTSVAR_OPENAI_URL, TTSVAR_OPENAI_MODEL, OPENAI_API_KEY).
        Anything unusual about the files is reported as a `SearchWarning`.
        """
        folder = None if weights is None else os.fspath(weights)
        source = _pretrained.Source(
            os.fspath(model), folder, dtype, device, scorer, state_dict, text_dtype
        )
        return cls._open(source)

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] = "demo",
        *,
        variant: str | None = None,
        torch_dtype: object = None,
        text_dtype: object = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        device: object = "cpu",
        scorer: str | None = None,
        state_dict: str | None = None,
        progress: bool | None = None,
    ) -> Self:
        """Loads a released model by its repository on Hugging Face, such as
        "FoundationVision/Infinity" with the variant "2b", and downloads what is missing, including its
        text encoder, features and scorers. The names of released models, "demo" and folders with a
        bundle.toml are also accepted.

        Files are kept in the Hugging Face cache, or in `cache_dir`; with `local_files_only`,
        nothing is downloaded. `torch_dtype` is "f32", "bf16", "q8" or the corresponding PyTorch
        dtype, `text_dtype` is the same for the text encoder alone, and `device` is "cpu", "cuda" or
        the corresponding `torch.device`. `scorer` and `state_dict` are as in `load`. `progress`
        shows the downloads; by default, only in notebooks.
        """
        name = _pretrained.find(os.fspath(model), variant)
        folder = _pretrained.weights(name, scorer, cache_dir, local_files_only, progress)
        source = _pretrained.Source(
            name,
            folder,
            _pretrained.dtype_name(torch_dtype),
            _pretrained.device_name(device),
            scorer,
            state_dict,
            None if text_dtype is None else _pretrained.dtype_name(text_dtype),
        )
        return cls._open(source)

    @classmethod
    def _open(cls, source: _pretrained.Source) -> Self:
        system = source.open()
        warn(system.notices(), stacklevel=4)
        return cls(system, source)

    def to(self, device: object) -> Self:
        """Loads the model on another device, "cpu" or "cuda", and returns this pipeline. Does nothing
        if it is already there."""
        name = _pretrained.device_name(device)
        if self._source is None:
            raise ValueError("only pipelines from `load` or `from_pretrained` can change their device")
        if name != self._source.device:
            source = replace(self._source, device=name)
            self._system = source.open()
            self._source = source
        return self

    @property
    def device(self) -> str | None:
        """The device that the model runs on: cpu or cuda."""
        return None if self._source is None else self._source.device

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
        """The names of the classes of the model in the order of their numbers, if it is
        class-conditional."""
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
        best: int | None = None,
        image: ImageLike | None = None,
        mask: MaskLike | None = None,
        progress: bool | None = None,
        **options: Unpack[SearchOptions],
    ) -> Result:
        """Searches for the best image for `prompt` or, with a class-conditional model, for `class_`: the
        number or the name of a class, or the beginning of a name.

        `options` are those of `ttsvar generate`, with the names in `ttsvar.OPTIONS`: n, plan, cfg
        and so on; `lambda` is spelled `lambda_` and `class` `class_`. Options that are not given
        take the model's defaults. `cfg`, `tau` and `top_p` are numbers, or lists with one number
        per scale.
        `plan` is a dictionary with the keys of a plan file, the text of one, or its path. `steer` is
        "auto", "off", or the same three forms of a steering file. `questions` is "auto", a list of
        dictionaries with `prompt` and `questions`, the text of a file, or its path. Without a `seed`,
        or with -1, a random one is used.

        `scorer` replaces the scorers of the model, and `extractor` its features wherever the plan
        clusters. `on_event` is called with every event. With `decode_all` it receives the images
        after every scale, which costs additional decodes; the trace counts them apart, as
        `previews`.

        With `best`, `Result.best_images()` returns that many images from this one search; a plan
        that cannot finish that many is refused. `progress` shows a bar; by default, only in
        notebooks.

        With `image` and `mask`, the part of the image that is white in the mask is regenerated, and
        the rest is kept; the prompt describes the whole image. Both must have the same size, and
        the aspect ratio of the images that the model generates.

        Anomalies are reported as `SearchWarning`.

        Other threads run during the search. Ctrl-C ends it within a second.
        """
        return self._search(
            prompt,
            {**options, "method": method},
            seed=seed,
            scorer=scorer,
            extractor=extractor,
            listeners=[] if on_event is None else [on_event],
            decode_all=decode_all,
            best=best,
            edit=_edit(image, mask, "mask"),
            progress=progress,
        )

    def _search(
        self,
        prompt: str | None,
        options: Mapping[str, Any],
        *,
        seed: int | None,
        scorer: Scorer | None,
        extractor: Extractor | None,
        listeners: list[Listener],
        decode_all: bool,
        best: int | None,
        edit: tuple[NDArray[np.uint8], bytes] | None,
        progress: bool | None,
    ) -> Result:
        if isinstance(scorer, str):
            raise TypeError(
                f"scorer must be a callable; Pipeline.load(..., scorer={scorer!r}) takes names"
            )
        bar = SearchProgress() if (in_notebook() if progress is None else progress) else None
        if bar is not None:
            listeners = [*listeners, bar]
        try:
            arrays, trace, winner, album = self._system.generate(
                prompt,
                named_options(options),
                seed_number(seed),
                scorer,
                extractor,
                _one_listener(listeners),
                decode_all,
                best,
                edit,
            )
        finally:
            if bar is not None:
                bar.close()
        warn(_native.trace_warnings(trace), stacklevel=4)
        images = [PIL.Image.fromarray(array) for array in arrays]
        if best is not None and len(images) < best:
            warn([f"the search stopped after {len(images)} of {best} images to keep"], stacklevel=4)
        return Result(images, winner, json.loads(trace), album, 1 if best is None else best)

    @overload
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: Generator | Sequence[Generator] | None = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[Literal["images"]] = (),
        output_type: Literal["pil"] = "pil",
        *,
        image: ImageLike | None = None,
        mask_image: MaskLike | None = None,
        share: bool = False,
        method: Method | None = None,
        scorer: Scorer | None = None,
        extractor: Extractor | None = None,
        progress: bool | None = None,
        **options: Unpack[SearchOptions],
    ) -> PipelineOutput[list[PIL.Image.Image]]: ...

    @overload
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: Generator | Sequence[Generator] | None = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[Literal["images"]] = (),
        *,
        output_type: Literal["np"],
        image: ImageLike | None = None,
        mask_image: MaskLike | None = None,
        share: bool = False,
        method: Method | None = None,
        scorer: Scorer | None = None,
        extractor: Extractor | None = None,
        progress: bool | None = None,
        **options: Unpack[SearchOptions],
    ) -> PipelineOutput[NDArray[np.float32]]: ...

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: Generator | Sequence[Generator] | None = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[Literal["images"]] = (),
        output_type: Literal["pil", "np"] = "pil",
        *,
        image: ImageLike | None = None,
        mask_image: MaskLike | None = None,
        share: bool = False,
        method: Method | None = None,
        scorer: Scorer | None = None,
        extractor: Extractor | None = None,
        progress: bool | None = None,
        **options: Unpack[SearchOptions],
    ) -> PipelineOutput[list[PIL.Image.Image]] | PipelineOutput[NDArray[np.float32]]:
        """Generates images for a prompt or a list of prompts, with the arguments of diffusers.

        `guidance_scale` is `cfg`. Each of the `num_images_per_prompt` images comes from its own
        search, with consecutive seeds; with `share`, they are the best ones of a single search.
        `generator` is a seed, an object with `initial_seed()` such as `torch.Generator`, or a list
        of these with one per prompt or per search. The state of a generator is neither used nor
        changed.

        `callback_on_step_end(pipe, step, timestep, kwargs)` is called after every scale. `kwargs`
        has the previews of all candidates, an array (B, H, W, 3) of uint8, as `images`, if
        `callback_on_step_end_tensor_inputs` contains "images". A callback that sets
        `pipe.interrupt` ends the call; the images of complete searches are returned.

        With `image` and `mask_image`, the part of the image that is white in the mask is
        regenerated, as in `generate`.

        `output_type` is "pil", or "np" for an array (N, H, W, 3) of numbers from 0 to 1.
        """
        if output_type not in ("pil", "np"):
            raise ValueError(f"output_type must be 'pil' or 'np', found {output_type!r}")
        if num_images_per_prompt < 1:
            raise ValueError(
                f"num_images_per_prompt must be 1 or more, found {num_images_per_prompt}"
            )
        unknown = sorted(set(callback_on_step_end_tensor_inputs) - {"images"})
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs can only contain 'images', found {unknown[0]!r}"
            )
        if guidance_scale is not None and options.get("cfg") is not None:
            raise TypeError("guidance_scale and cfg are the same; give one of them")
        prompts = [prompt] if prompt is None or isinstance(prompt, str) else list(prompt)
        edit = _edit(image, mask_image, "mask_image")
        negatives = _one_per_prompt(negative_prompt, len(prompts))
        searches = 1 if share else num_images_per_prompt
        seeds = seeds_of(generator, len(prompts), searches)
        previews = callback_on_step_end is not None and bool(callback_on_step_end_tensor_inputs)
        given: dict[str, Any] = {**options, "method": method}
        if guidance_scale is not None:
            given["cfg"] = guidance_scale
        self.interrupt = False
        results: list[Result] = []
        for index, seed in enumerate(seeds):
            if negatives is not None:
                given["negative"] = negatives[index // searches]
            try:
                result = self._search(
                    prompts[index // searches],
                    given,
                    seed=seed,
                    scorer=scorer,
                    extractor=extractor,
                    listeners=[Steps(self, callback_on_step_end, previews)],
                    decode_all=previews,
                    best=num_images_per_prompt if share else None,
                    edit=edit,
                    progress=progress,
                )
            except Interrupted:
                break
            results.append(result)
        images = [found for result in results for found in result.best_images()]
        if output_type == "pil":
            return PipelineOutput(images, results)
        arrays = [np.asarray(found, dtype=np.float32) / np.float32(255) for found in images]
        return PipelineOutput(np.stack(arrays) if arrays else _NO_IMAGES, results)

    def score(self, prompt: str, images: ImageLike | Sequence[ImageLike]) -> NDArray[np.float32]:
        """Scores images with the first scorer of the model. Higher is better."""
        if isinstance(images, PIL.Image.Image):
            images = [images]
        elif isinstance(images, np.ndarray) and images.ndim == 3:
            images = [images]
        warn(self._system.score_warnings(prompt), stacklevel=3)
        return self._system.score(prompt, [_to_array(image) for image in images])

    def __repr__(self) -> str:
        return f"<ttsvar.Pipeline {self.name!r}>"


_NO_IMAGES: NDArray[np.float32] = np.zeros((0, 0, 0, 3), dtype=np.float32)


def _one_listener(listeners: list[Listener]) -> Listener | None:
    """A listener that passes events to all of these."""
    if not listeners:
        return None
    if len(listeners) == 1:
        return listeners[0]

    def listen(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return listen


def _one_per_prompt(negative: str | Sequence[str] | None, prompts: int) -> list[str] | None:
    """A negative prompt for each prompt."""
    if negative is None:
        return None
    if isinstance(negative, str):
        return [negative] * prompts
    if len(negative) != prompts:
        raise ValueError(
            f"negative_prompt has {len(negative)} elements, expected one per prompt ({prompts})"
        )
    return list(negative)


def _img(png: bytes, alt: str) -> str:
    """An image within a page."""
    data = base64.b64encode(png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{alt}" style="max-width: 100%">'


def seed_number(seed: int | None) -> int:
    """The seed, or a random one for None and -1."""
    if seed is None:
        return secrets.randbits(32)
    try:
        number = operator.index(seed)
    except TypeError:
        raise ValueError(f"seed must be an integer, found {seed!r}") from None
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
        raise TypeError(f"unknown arguments {', '.join(unknown)}; expected some of {', '.join(known)}")
    return options


def _edit(
    image: ImageLike | None, mask: MaskLike | None, name: str
) -> tuple[NDArray[np.uint8], bytes] | None:
    """An image, and its mask as a file. `name` is that of the argument."""
    if image is None and mask is None:
        return None
    if image is None or mask is None:
        raise TypeError(f"image and {name} belong together; one of them is missing")
    if not isinstance(mask, PIL.Image.Image):
        values = np.asarray(mask)
        if values.dtype not in (np.bool_, np.uint8) or values.ndim not in (2, 3):
            raise ValueError(
                f"{name} must be an image, or an array (H, W) of bool or uint8, "
                f"found {values.dtype} of shape {values.shape}"
            )
        values = np.where(values, 255, 0) if values.dtype == np.bool_ else values
        mask = PIL.Image.fromarray(values.astype(np.uint8))
    file = io.BytesIO()
    mask.convert("RGBA").save(file, "png")
    return _to_array(image), file.getvalue()


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
