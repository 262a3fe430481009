"""Judges pictures against prompts: a folder of PNGs made by any program, or samples drawn here from a checkpoint."""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import bsq_vae
from captions import test_prompts
from judge import judge_all, table


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=Path, help="JSONL with task, caption, include, exclude (default: the test prompts)")
    parser.add_argument("--pictures", type=Path, help="folder with NNNN.png, NNNN = line of the prompt from 0")
    parser.add_argument("--manifest", type=Path, help="JSONL with `prompt` (line number) and `file`, instead of NNNN.png")
    parser.add_argument("--out", type=Path, help="sample from the checkpoints in this folder instead")
    parser.add_argument("--vae", default="vae.pth")
    parser.add_argument("--generator", default="generator.pt")
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


def from_checkpoint(args, prompts):
    from sampler import load, sample

    wishes = prompts * args.repeat
    models = bsq_vae.load(args.out / args.vae), *load(args.out / args.generator)
    pictures, _ = sample(*models, [p["caption"] for p in wishes], args.cfg, args.tau, args.seed)
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
    pictures, wishes = from_files(args, prompts) if args.pictures else from_checkpoint(args, prompts)
    print(json.dumps({"pictures": len(pictures)} | table(judge_all(pictures, wishes), wishes)))


if __name__ == "__main__":
    main()
