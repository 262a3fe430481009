"""Models by the names under which they are published, and where their files are."""

from __future__ import annotations

import os
from dataclasses import dataclass

from . import _native
from ._progress import DownloadProgress, in_notebook

DEMO = "demo"

_DTYPES = {"float32": "f32", "bfloat16": "bf16"}
"""The types of PyTorch under our names."""


@dataclass(frozen=True)
class Source:
    """What a model is loaded from."""

    model: str
    weights: str | None
    dtype: str
    device: str
    scorer: str | None
    state_dict: str | None
    text_dtype: str | None = None

    def open(self) -> _native.System:
        """Loads the model."""
        return _native.System.open(
            self.model,
            self.weights,
            self.dtype,
            self.device,
            self.scorer,
            self.state_dict,
            self.text_dtype,
        )


def released_models() -> list[str]:
    """The names of the released models that `Pipeline.from_pretrained` knows."""
    return _native.released()


def find(model: str, variant: str | None) -> str:
    """The demo, a released model, a folder with a bundle.toml, or what the repository `model`
    publishes as `variant`."""
    if model != DEMO and model not in _native.released() and not os.path.isdir(model):
        if "/" in model:
            return _native.model_of_repository(model, variant)
        return model  # opening it says what is known
    if variant is not None:
        raise ValueError(
            f"variant {variant!r} was given with {model!r}; only repositories have variants, such "
            "as FoundationVision/Infinity"
        )
    return model


def weights(
    model: str,
    scorer: str | None,
    cache_dir: str | os.PathLike[str] | None,
    local_files_only: bool,
    progress: bool | None,
) -> str | None:
    """The folder with the files of a released model and scorers, after a download of those that are
    missing. `None` if all that is needed is in the package or in the folder of the model."""
    if model not in _native.released() and not (model == DEMO and scorer is not None):
        return None
    folder = os.fspath(cache_dir) if cache_dir is not None else os.fspath(_native.cache_folder())
    if not local_files_only:
        shown = in_notebook() if progress is None else progress
        bars = DownloadProgress() if shown else None
        try:
            _native.fetch_missing(model, folder, scorer, bars)
        finally:
            if bars is not None:
                bars.close()
    return folder if model != DEMO or os.path.isdir(folder) else None


def dtype_name(dtype: object) -> str:
    """The name of a data type: ours, or that of `torch.bfloat16` and the like; f32 for `None`."""
    if dtype is None:
        return "f32"
    name = str(dtype).removeprefix("torch.")
    return _DTYPES.get(name, name)


def device_name(device: object) -> str:
    """The name of a device: cpu or cuda, also for `torch.device("cuda:0")`."""
    name = str(device)
    return "cuda" if name == "cuda:0" else name
