"""The types of the options of a search."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

Method: TypeAlias = Literal[
    "raw",
    "best-of-n",
    "importance",
    "beam",
    "lookahead",
    "draft",
    "sequential",
    "auto",
    "tts-var",
]
"""The names of the search methods."""

PerScale: TypeAlias = "float | Sequence[float] | NDArray[np.floating[Any]]"
"""A number, or one per scale; the last one applies to all later scales."""

Source: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any]"
"""A dictionary with the keys of a file, the text of one, or its path."""

if TYPE_CHECKING:

    class SearchOptions(TypedDict, total=False):
        """The options of `ttsvar generate`, with the same names. `lambda` and `class` are keywords
        in Python and have an underscore at the end."""

        negative: str | None
        class_: int | str | None
        n: int | None
        schedule: Literal["released", "paper"] | None
        plan: Source | None
        features: Literal["pca", "pca-raw", "pca-all", "pool", "latent"] | None
        potential: Literal["value", "diff", "max", "sum"] | None
        lambda_: float | None
        draw: Literal["multinomial", "systematic"] | None
        enough: float | None
        above: float | None
        finish: int | None
        verifier: Literal["image", "latent"] | None
        budget: str | None
        preview: int | Literal["full"] | None
        sampling: Literal["tts-var", "infinity-eval", "infinity-demo", "soto"] | None
        cfg: PerScale | None
        cfg_layer: int | None
        tau: PerScale | None
        top_p: PerScale | None
        top_k: int | None
        steer: Source | None
        more_smooth: bool | None
        token_statistics: bool | None
        decoder_steps: int | None
        preview_steps: int | None
        decoder_cfg: float | None
        as_released: bool | None
        aspect: str | None
        pixels: str | None
        questions: Source | None
        question_mean: Literal["arithmetic", "geometric"] | None
