"""Scores images that another program made. The table has a line `file,prompt` for each of them:

    python score_images.py made/images.csv scored.csv
"""

import csv
import sys
from pathlib import Path

from PIL import Image

import ttsvar

table, out = Path(sys.argv[1]), Path(sys.argv[2])
# With released scorers: from_pretrained("demo", scorer="image-reward=1,hps=1"), which downloads them.
pipeline = ttsvar.Pipeline.from_pretrained("demo")
with table.open(newline="", encoding="utf-8") as file:
    rows = [(row[0], row[1]) for row in csv.reader(file)]

by_prompt: dict[str, list[str]] = {}
for name, prompt in rows:
    by_prompt.setdefault(prompt, []).append(name)
with out.open("w", newline="", encoding="utf-8") as file:
    scored = csv.writer(file)
    scored.writerow(["prompt", "file", "score"])
    for prompt, names in by_prompt.items():
        scores = pipeline.score(prompt, [Image.open(table.parent / name) for name in names])
        for score, name in sorted(zip(scores, names, strict=True), reverse=True):
            scored.writerow([prompt, name, f"{score:.4f}"])
print(out.read_text(encoding="utf-8"), end="")
