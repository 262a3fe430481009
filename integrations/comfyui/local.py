"""Searches in this process, with the Python package `ttsvar`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import PIL.Image
import ttsvar

from .backend import Found, Search, Watcher, steps


class LocalModel:
    """A model in this process."""

    def __init__(self, pipeline: ttsvar.Pipeline) -> None:
        self.pipeline = pipeline

    @classmethod
    def load(
        cls,
        model: str,
        dtype: str,
        text_dtype: str | None,
        device: str,
        scorer: str | None,
        weights: str | None,
        download: bool,
    ) -> LocalModel:
        """Loads a model, and downloads what is missing of a released one."""
        return cls(
            ttsvar.Pipeline.from_pretrained(
                model,
                torch_dtype=dtype,
                text_dtype=text_dtype,
                device=device,
                scorer=scorer,
                cache_dir=weights,
                local_files_only=not download,
            )
        )

    def search(self, search: Search, watcher: Watcher) -> Found:
        """Searches for the best images."""
        last = "decoded" if search.previews else "candidates"

        def listen(event: dict[str, Any]) -> None:
            if event["event"] == "started":
                watcher.begin(steps(event))
            elif event["event"] == last:
                watcher.advance(sheet(event["images"]) if search.previews else None)

        result = self.pipeline.generate(
            search.prompt,
            seed=search.seed,
            best=search.best,
            on_event=listen,
            decode_all=search.previews,
            **search.options,
        )
        watcher.end()
        return Found(result.best_images(), result.tree(), result.trace)


def sheet(images: np.ndarray) -> PIL.Image.Image:
    """Images (B, H, W, 3) on one sheet, as square as possible."""
    count, height, width, _ = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = PIL.Image.new("RGB", (columns * width, rows * height))
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        sheet.paste(PIL.Image.fromarray(image), (column * width, row * height))
    return sheet
