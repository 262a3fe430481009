"""Judges pictures against prompts: a folder of PNGs made by any program, or samples drawn here from a bundle."""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from captions import test_prompts
from judge import judge_all, table
from sampler import load_bundle, sample


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=Path, help="JSONL with task, caption, include, exclude (default: the test prompts)")
    parser.add_argument("--pictures", type=Path, help="folder with NNNN.png, NNNN = line of the prompt from 0")
    parser.add_argument("--manifest", type=Path, help="JSONL with `prompt` (line number) and `file`, instead of NNNN.png")
    parser.add_argument("--bundle", type=Path, help="sample from this bundle instead (raw: no search)")
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--tau", type=float, default=0.5)
    parser.add_argument("--repeat", type=int, default=1, help="samples per prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="folder for sampled pictures as NNNN.png (of the first repeat)")
    return parser.parse_args()


def read(path):
    """A PNG as uint8 [3,64,64]; other sizes are averaged down to 64 x 64."""
    picture = Image.open(path).convert("RGB")
    if picture.size != (64, 64):
        picture = picture.resize((64, 64), Image.BOX)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def from_files(args, prompts):
    if args.manifest:
        rows = [json.loads(line) for line in args.manifest.read_text().splitlines()]
        return torch.stack([read(args.pictures / r["file"]) for r in rows]), [prompts[r["prompt"]] for r in rows]
    return torch.stack([read(args.pictures / f"{i:04}.png") for i in range(len(prompts))]), prompts


def from_bundle(args, prompts):
    wishes = prompts * args.repeat
    pictures, _ = sample(*load_bundle(args.bundle), [p["caption"] for p in wishes], args.cfg, args.tau, args.seed)
    if args.save:
        args.save.mkdir(parents=True, exist_ok=True)
        for i, picture in enumerate(pictures[:len(prompts)]):
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(args.save / f"{i:04}.png")
    return pictures, wishes


def main():
    args = arguments()
    torch.set_num_threads(1)
    lines = args.prompts.read_text().splitlines() if args.prompts else []
    prompts = [json.loads(line) for line in lines] if args.prompts else test_prompts()
    pictures, wishes = from_files(args, prompts) if args.pictures else from_bundle(args, prompts)
    print(json.dumps({"pictures": len(pictures)} | table(judge_all(pictures, wishes), wishes)))


if __name__ == "__main__":
    main()
