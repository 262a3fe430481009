"""A search with your own scorer, cell by cell in a notebook or in an editor that knows `# %%`.
As a program: `python own_scorer.py reddest.png`."""

# %% The demo needs no downloads. In a notebook, the last line of a cell shows the winner and the tree.
import sys

import numpy as np
from numpy.typing import NDArray

import ttsvar

pipeline = ttsvar.Pipeline.from_pretrained("demo")
pipeline.generate("two circles", method="tts-var", n=1, seed=1)


# %% The reddest image is the best. A scorer gets all images of a scale at once, (B, H, W, 3).
def redness(prompt: str, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    pixels = images.astype(np.float64) / 255
    reddest: NDArray[np.float64] = (pixels[..., 0] - pixels[..., 1:].max(-1)).mean((1, 2))
    return reddest


reddest = pipeline.generate(
    "two circles", method="best-of-n", n=6, best=3, seed=1, scorer=redness, progress=True
)
reddest.save(sys.argv[1] if len(sys.argv) > 1 else "reddest.png")
print("redness:", ", ".join(f"{score:.3f}" for score in sorted(reddest.scores, reverse=True)))

# %% The three best of that one search.
reddest.best_images()

# %% The model's own opinion of them.
print("demo-reward:", pipeline.score("two circles", reddest.best_images()))
