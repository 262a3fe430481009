"""Test-time scaling of visual autoregressive image generation: search over the paths of a
coarse-to-fine model and keep the best image.

>>> import ttsvar
>>> pipeline = ttsvar.Pipeline.load("demo")
>>> result = pipeline.generate("two blue stars", method="tts-var", n=2, seed=7)
>>> result.image.size
(64, 64)
"""

from ._native import VERSION as __version__
from ._pipeline import (
    OPTIONS,
    Event,
    Extractor,
    ImageLike,
    Listener,
    Method,
    Picture,
    Pipeline,
    Result,
    Scorer,
    SearchWarning,
)

__all__ = [
    "OPTIONS",
    "Event",
    "Extractor",
    "ImageLike",
    "Listener",
    "Method",
    "Picture",
    "Pipeline",
    "Result",
    "Scorer",
    "SearchWarning",
    "__version__",
]
