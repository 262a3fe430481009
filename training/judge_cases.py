"""Writes pictures with the judge's reading of each, and held-out flags of captions: tests of the program compare against them."""
import argparse
import json
from pathlib import Path

import torch
from PIL import Image

from captions import TASKS, held_out, random_ask, verbatim
from judge import correct, detect
from world import SplitMix, make


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with samples of the generator")
    parser.add_argument("--samples", default="samples.pt")
    parser.add_argument("--to", type=Path, required=True, help="folder for the pictures and cases.json")
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    samples, first = torch.load(args.out / args.samples), 700_000_000
    scenes, pictures = make(24, first)["img"], []
    for i, picture in enumerate(scenes):
        pictures.append({"file": f"scene_{i:02}.png", "seed": first + i, "picture": picture})
    for i in range(24):
        for view in (0, 1):                    # finished, unfinished
            pictures.append({"file": f"sample_{i:02}_{view}.png", "picture": samples["img"][i, view], "wish": samples["prompts"][i]})
    for row in pictures:
        picture = row.pop("picture").permute(1, 2, 0).numpy()
        Image.fromarray(picture).save(args.to / row["file"], optimize=True)
        row["objects"] = detect(picture)
        if "wish" in row:
            row["correct"] = correct(row["objects"], row["wish"])
            row["task"] = row.pop("wish")["task"]
    rng = SplitMix(5)
    asks = [random_ask(rng, task) for task in TASKS for _ in range(40)]
    captions = {verbatim(ask): held_out(ask) for ask in asks}
    (args.to / "cases.json").write_text(json.dumps({"pictures": pictures, "captions": captions}, indent=1))


if __name__ == "__main__":
    main()
