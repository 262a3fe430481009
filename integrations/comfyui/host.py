"""What ComfyUI offers to nodes: tensors, the progress bar with previews, and the button that
stops."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.utils
import numpy as np
import PIL.Image
import torch

PREVIEW = 512
"""The longest side of previews in pixels."""


class Progress:
    """Shows a search in the progress bar of the node that runs."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._steps: int | None = None
        self._done = 0

    def begin(self, steps: int | None) -> None:
        """A search of as many scales begins; `None` if a budget decides."""
        self._steps = steps
        self._bar = comfy.utils.ProgressBar(steps or 1)

    def check(self) -> None:
        """Raises ComfyUI's exception if the user wants the search to end."""
        comfy.model_management.throw_exception_if_processing_interrupted()

    def advance(self, preview: PIL.Image.Image | None) -> None:
        """A scale is complete. Raises ComfyUI's exception if the user wants the search to end."""
        self.check()
        if self._bar is None:
            return
        self._done += 1
        if self._steps is None:
            value, total = 0, 1  # nobody knows how much is to come
        else:
            value, total = min(self._done, self._steps), self._steps
        shown = None if preview is None else ("JPEG", preview, PREVIEW)
        self._bar.update_absolute(value, total, shown)

    def end(self) -> None:
        """The search is complete. It may have stopped early."""
        if self._bar is not None:
            total = self._steps or 1
            self._bar.update_absolute(total, total)


def to_images(images: list[PIL.Image.Image]) -> torch.Tensor:
    """Images of one size as ComfyUI has them: a tensor (B, H, W, 3) of numbers from 0 to 1."""
    arrays = [np.asarray(image.convert("RGB"), dtype=np.float32) / 255 for image in images]
    return torch.from_numpy(np.stack(arrays))
