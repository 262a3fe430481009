"""Encodes all scenes once with the trained tokenizer, and reports how well the judge reads reconstructions."""
import argparse
import time
from pathlib import Path

import torch

import bsq_vae
from bsq_vae import SCALES, multi_scale
from captions import scene_ask
from judge import judge_all, table


def report(vae, data, latents, count=200):
    """Peak signal-to-noise ratio and accuracy of pictures decoded from all scales and from fewer."""
    wishes = [scene_ask(data, i).metadata() for i in range(count)]
    sums, _ = multi_scale(latents[:count].float())
    for k in (7, 6, 5):
        pictures = bsq_vae.decode(vae, sums[k - 1])
        mse = (pictures.float() - data["img"][:count].float()).pow(2).mean() / 255 ** 2
        print(f"{k} scales: PSNR {-10 * mse.log10():.2f} dB, judged {table(judge_all(pictures, wishes), wishes)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vae", default="vae.pth")
    parser.add_argument("--count", type=int, default=60_000, help="number of training scenes to encode")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report-only", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    vae, val = bsq_vae.load(args.out / args.vae), torch.load(args.out / "val.pt")
    began, latents = time.time(), bsq_vae.encode(vae, val["img"])
    if not args.report_only:
        train = torch.load(args.out / "train.pt", mmap=True)
        torch.save({"train": bsq_vae.encode(vae, train["img"][: args.count]), "val": latents}, args.out / "codes.pt")
        print(f"encoded {args.count} pictures in {time.time() - began:.0f} s", flush=True)
    report(vae, val, latents)


if __name__ == "__main__":
    main()
