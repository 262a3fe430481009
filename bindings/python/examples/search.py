"""A search from Python, step by step. Run it as a whole (`python search.py FOLDER`), or cell by cell in an editor that knows
`# %%` cells.
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
best.save(folder / "best.png")  # `ttsvar generate --from best.png` paints it again


# %% Watch it: the images of every row, scale by scale.
frames: list[NDArray[np.uint8]] = []


def watch(event: ttsvar.Event) -> None:
    if event["event"] == "decoded":
        rows = np.concatenate(list(event["images"]), axis=1)
        width = frames[0].shape[1] if frames else rows.shape[1]  # later scales have fewer rows
        frames.append(np.pad(rows, ((0, 0), (0, width - rows.shape[1]), (0, 0)), constant_values=255))


pipeline.generate(prompt, method="tts-var", n=1, seed=7, on_event=watch, decode_all=True)
Image.fromarray(np.concatenate(frames)).save(folder / "scales.png")
print(f"{len(frames)} scales in scales.png")


# %% A judge of one's own: the reddest picture wins, whatever the prompt says.
def redness(prompt: str, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    pixels = images.astype(np.float64) / 255
    reddest: NDArray[np.float64] = (pixels[..., 0] - pixels[..., 1:].max(-1)).mean((1, 2))
    return reddest


reddest = pipeline.generate("two circles", method="best-of-n", n=4, seed=1, scorer=redness)
reddest.save(folder / "reddest.png")
print("redness:", ", ".join(f"{score:.3f}" for score in reddest.scores))


# %% Features of one's own: candidates are kept apart by their mean colour instead of DINOv2.
def mean_colour(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    colours: NDArray[np.float64] = images.mean((1, 2))
    return colours


varied = pipeline.generate("a circle", n=1, seed=1, extractor=mean_colour)
for stage in varied.trace["stages"]:
    print(f"after scale {stage['scale']}: {stage['select']}, rows {stage['kept']} go on")
