"""Test-time scaling of visual autoregressive image generation: search over the paths of a
coarse-to-fine model and keep the best image.

>>> import ttsvar
>>> pipeline = ttsvar.Pipeline.load("demo")
>>> result = pipeline.generate("two blue stars", method="tts-var", n=2, seed=7)
>>> result.image.size
(64, 64)
"""

from ._call import Generator, PipelineOutput, StepCallback
from ._native import VERSION as __version__
from ._options import Method
from ._pipeline import (
    OPTIONS,
    Event,
    Extractor,
    ImageLike,
    Listener,
    MaskLike,
    Picture,
    Pipeline,
    Result,
    Scorer,
    SearchWarning,
)
from ._pretrained import released_models

__all__ = [
    "OPTIONS",
    "Event",
    "Extractor",
    "Generator",
    "ImageLike",
    "Listener",
    "MaskLike",
    "Method",
    "Picture",
    "Pipeline",
    "PipelineOutput",
    "Result",
    "Scorer",
    "SearchWarning",
    "StepCallback",
    "__version__",
    "released_models",
]
