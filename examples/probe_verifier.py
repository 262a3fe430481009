"""Asks, before a latent verifier is trained, after which scales it could work: collects pairs with
`ttsvar collect`, fits a linear model from latents to scores, and prints how well it ranks samples
of the same prompt that it has not seen. Scores count relative to the mean of their prompt.

    python probe_verifier.py prompts.txt pairs
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

prompts, folder = sys.argv[1], Path(sys.argv[2])
samples = os.environ.get("SAMPLES", "64")
command = [os.environ.get("TTSVAR_BIN", "ttsvar"), "collect", "--quiet", "--prompts", prompts]
subprocess.run([*command, "--samples", samples, "--out", folder], check=True)


def header_of(content: bytes) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file and where it ends."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), end


def tensor(path: Path, name: str) -> Floats:
    """A tensor of a safetensors file."""
    content = path.read_bytes()
    header, header_end = header_of(content)
    entry = header[name]
    start, end = (header_end + offset for offset in entry["data_offsets"])
    values = np.frombuffer(content[start:end], {"F16": "<f2", "F32": "<f4"}[entry["dtype"]])
    return values.reshape(entry["shape"]).astype(np.float64)


def prompts_of(path: Path) -> list[str]:
    """The prompt of each sample of a file."""
    header, _ = header_of(path.read_bytes())
    return [sample["prompt"] for sample in json.loads(header["__metadata__"]["samples"])]


def within_prompts(values: Floats, prompts: NDArray[np.str_]) -> Floats:
    """Values (N, ...) without the mean of their prompt."""
    centred = values.copy()
    for prompt in np.unique(prompts):
        centred[prompts == prompt] -= values[prompts == prompt].mean(0)
    return centred


def ranks(values: Floats) -> Floats:
    """The rank of each value."""
    return values.argsort().argsort().astype(np.float64)


files = sorted(folder.glob("pairs-*.safetensors"))
latents = np.concatenate([tensor(file, "latents") for file in files])  # (N, scales, C, H, W)
scores = np.concatenate([tensor(file, "scores") for file in files])  # (N), one caption each
texts = np.array([text for file in files for text in prompts_of(file)])
scores = within_prompts(scores, texts)
count, scales = latents.shape[:2]
held_out: Flags = np.array([sample % 4 == 0 for sample in range(count)])
known: Flags = np.logical_not(held_out)
print(f"{count} samples, {held_out.sum()} of them held out")
for scale in range(scales):
    flat = latents[:, scale].reshape(count, -1)
    inputs = within_prompts(flat, texts)
    # Ridge regression in its dual form: there are fewer samples than numbers in a latent.
    kernel: Floats = inputs @ inputs.T
    ridge = 0.1 * float(np.trace(kernel)) / count
    system: Floats = kernel[known][:, known] + ridge * np.eye(int(known.sum()))
    fit = np.linalg.solve(system, scores[known])
    predicted: Floats = kernel[held_out][:, known] @ fit
    correlation = float(np.corrcoef(ranks(predicted), ranks(scores[held_out]))[0, 1])
    print(f"after scale {scale}: rank correlation {correlation:.2f}")
