"""The native half of `ttsvar` and `ttsvar.ray`."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

VERSION: str

@final
class System:
    @staticmethod
    def open(
        model: str,
        weights: str | os.PathLike[str] | None,
        dtype: str,
        device: str,
        scorer: str | None = None,
    ) -> System: ...
    @property
    def name(self) -> str: ...
    @property
    def words(self) -> list[str] | None: ...
    def unknown_words(self, prompt: str) -> list[str]: ...
    def generate(
        self,
        prompt: str,
        options: Mapping[str, Any],
        seed: int,
        scorer: Callable[..., Any] | None = None,
        extractor: Callable[..., Any] | None = None,
        listener: Callable[[dict[str, Any]], object] | None = None,
        decode_all: bool = False,
    ) -> tuple[list[NDArray[np.uint8]], str, int]: ...
    def described(
        self,
        options: Mapping[str, Any],
        scorer: Callable[..., Any] | None = None,
        extractor: Callable[..., Any] | None = None,
    ) -> str: ...
    def score(self, prompt: str, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]: ...

@final
class Evaluation:
    @staticmethod
    def scenes(
        system: System,
        options: Mapping[str, Any],
        split: str,
        prompts: int,
        prompt_seed: int,
        methods: Sequence[str],
        n: Sequence[int],
        samples: int,
        seed: int,
    ) -> Evaluation: ...
    @staticmethod
    def from_setup(setup: str) -> Evaluation: ...
    @property
    def setup(self) -> str: ...
    def pending(self, log: Log) -> list[str]: ...
    def run_sample(
        self, system: System, options: Mapping[str, Any], sample: str, images: bool
    ) -> list[tuple[str, bytes | None]]: ...
    def summary(self, log: Log) -> str: ...

@final
class Log:
    @staticmethod
    def open(folder: str | os.PathLike[str], evaluation: Evaluation, resume: bool) -> Log: ...
    def add(self, record: str) -> None: ...
    def __len__(self) -> int: ...

def option_names() -> list[str]: ...
def png(image: NDArray[np.uint8], trace: str) -> bytes: ...
def slug(text: str) -> str: ...
def write(path: str | os.PathLike[str], bytes: bytes) -> None: ...
