"""Asks, before a latent verifier is trained, after which scales it could work: collects pairs with
`ttsvar collect`, fits a linear model from latents to scores, and prints how well it ranks samples
that it has not seen.

    python probe_verifier.py prompts.txt pairs
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

prompts, folder = sys.argv[1], Path(sys.argv[2])
samples = os.environ.get("SAMPLES", "64")
command = [os.environ.get("TTSVAR_BIN", "ttsvar"), "collect", "--quiet", "--prompts", prompts]
subprocess.run([*command, "--samples", samples, "--out", folder], check=True)


def tensor(path: Path, name: str) -> Floats:
    """A tensor of a safetensors file."""
    content = path.read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    entry = json.loads(content[8:header_end])[name]
    start, end = (header_end + offset for offset in entry["data_offsets"])
    values = np.frombuffer(content[start:end], {"F16": "<f2", "F32": "<f4"}[entry["dtype"]])
    return values.reshape(entry["shape"]).astype(np.float64)


def ranks(values: Floats) -> Floats:
    """The rank of each value."""
    return values.argsort().argsort().astype(np.float64)


files = sorted(folder.glob("pairs-*.safetensors"))
latents = np.concatenate([tensor(file, "latents") for file in files])  # (N, scales, C, H, W)
scores = np.concatenate([tensor(file, "scores") for file in files])  # (N), one caption each
count, scales = latents.shape[:2]
held_out = np.arange(count) % 4 == 0
print(f"{count} samples, {held_out.sum()} of them held out")
for scale in range(scales):
    quarter = latents[:, scale].reshape(count, -1)
    inputs = quarter - quarter.mean(0)
    # Ridge regression in its dual form: there are fewer samples than numbers in a latent.
    kernel = inputs @ inputs.T
    known = ~held_out
    ridge = kernel[known].mean() + 0.1 * np.trace(kernel) / count
    mean = scores[known].mean()
    fit = np.linalg.solve(kernel[np.ix_(known, known)] + ridge * np.eye(known.sum()), scores[known] - mean)
    predicted = kernel[np.ix_(held_out, known)] @ fit + mean
    correlation = np.corrcoef(ranks(predicted), ranks(scores[held_out]))[0, 1]
    print(f"after scale {scale}: rank correlation {correlation:.2f}")
