"""Compares search methods on your prompts: the mean score of each, what it costs, and how often it
is better than the first one. Run it with a text file of one prompt per line:

    python compare_methods.py prompts.txt compared.csv
"""

import csv
import statistics
import sys
from pathlib import Path

import ttsvar

METHODS: dict[ttsvar.Method, int | None] = {"raw": None, "best-of-n": 2, "auto": None}
"""Methods with their N; the first one is the base of the comparison."""

SEEDS = range(2)

prompts = [line for line in Path(sys.argv[1]).read_text().splitlines() if line.strip()]
pipeline = ttsvar.Pipeline.from_pretrained("demo")
rows: list[tuple[ttsvar.Method, str, int, float, int, int]] = []
for prompt in prompts:
    for seed in SEEDS:
        for method, n in METHODS.items():
            result = pipeline.generate(prompt, method=method, n=n, seed=seed)
            cost = result.trace["cost"]
            images, decodes = int(cost["images"]), int(cost["decodes"])
            rows.append((method, prompt, seed, result.score, images, decodes))

with open(sys.argv[2], "w", newline="", encoding="utf-8") as file:
    table = csv.writer(file)
    table.writerow(["method", "prompt", "seed", "score", "images", "decodes"])
    table.writerows(rows)

base = next(iter(METHODS))
scores = {(row[0], row[1], row[2]): row[3] for row in rows}
for method in METHODS:
    own = [row for row in rows if row[0] == method]
    better = [score > scores[base, prompt, seed] for _, prompt, seed, score, *_ in own]
    print(
        f"{method:12} score {statistics.mean(row[3] for row in own):6.3f}  "
        f"images {statistics.mean(row[4] for row in own):5.2f}  "
        f"better than {base} in {sum(better)} of {len(better)}"
    )
