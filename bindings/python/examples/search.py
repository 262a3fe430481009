"""Searches from Python, step by step. Run the whole file (`python search.py FOLDER`), or run it
cell by cell in an editor that supports `# %%` cells.
"""

# %% The demo needs no downloads.
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import ttsvar

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
folder.mkdir(parents=True, exist_ok=True)
pipeline = ttsvar.Pipeline.load("demo")
prompt = "a blue star above a red square"

# %% One raw sample against TTS-VAR, with the same seed.
raw = pipeline.generate(prompt, method="raw", seed=7)
best = pipeline.generate(prompt, method="tts-var", n=2, seed=7)
for result in (raw, best):
    print(result)
best.save(folder / "best.png")  # `ttsvar generate --from best.png` generates it again


# %% Watch a search: the images of all candidates, scale by scale.
frames: list[NDArray[np.uint8]] = []


def watch(event: ttsvar.Event) -> None:
    if event["event"] == "decoded":
        frame = np.concatenate(list(event["images"]), axis=1)
        width = frames[0].shape[1] if frames else frame.shape[1]
        missing = width - frame.shape[1]  # later scales have fewer candidates
        frames.append(np.pad(frame, ((0, 0), (0, missing), (0, 0)), constant_values=255))


pipeline.generate(prompt, method="tts-var", n=1, seed=7, on_event=watch, decode_all=True)
Image.fromarray(np.concatenate(frames)).save(folder / "scales.png")
print(f"{len(frames)} scales in scales.png")


# %% A custom scorer: the reddest image wins, whatever the prompt is.
def redness(prompt: str, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    pixels = images.astype(np.float64) / 255
    reddest: NDArray[np.float64] = (pixels[..., 0] - pixels[..., 1:].max(-1)).mean((1, 2))
    return reddest


reddest = pipeline.generate("two circles", method="best-of-n", n=4, seed=1, scorer=redness)
reddest.save(folder / "reddest.png")
print("redness:", ", ".join(f"{score:.3f}" for score in reddest.scores))


# %% Custom features: candidates are clustered by their mean colour instead of DINOv2 features.
def mean_colour(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    colours: NDArray[np.float64] = images.mean((1, 2))
    return colours


varied = pipeline.generate("a circle", method="tts-var", n=1, seed=1, extractor=mean_colour)
for stage in varied.trace["stages"]:
    print(f"after scale {stage['scale']}: {stage['select']}, kept {stage['kept']}")
