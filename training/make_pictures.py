"""Makes pictures as a search sees them, for the reward and the features: decodes of scenes, or the generator's own samples."""
import argparse
import time
from pathlib import Path

import torch

import bsq_vae
from bsq_vae import SCALES, multi_scale
from captions import training_prompts
from judge import detect
from sampler import load, sample


def decodes(out, vae, count, seed):
    """Training scenes decoded from all scales (half of them) or from 3 to 6."""
    latents = torch.load(out / "codes.pt", mmap=True)["train"][:count].float()
    torch.manual_seed(seed)
    last = len(SCALES) - 1
    k = torch.where(torch.rand(len(latents)) < 0.5, last, torch.randint(2, last, (len(latents),)))
    sums = torch.stack(multi_scale(latents)[0])[k, torch.arange(len(latents))]
    torch.save({"img": bsq_vae.decode(vae, sums), "row": torch.arange(len(latents))}, out / "decodes.pt")


def samples(args, vae):
    """Own samples of training prompts: the finished picture and three unfinished ones, with the judge's reading of the first."""
    prompts = training_prompts(args.count, args.seed)
    _, sums = sample(vae, *load(args.out / args.generator), [p["caption"] for p in prompts], args.cfg, args.tau, args.seed)
    torch.manual_seed(args.seed)
    early = torch.stack([torch.randperm(4)[:3] + 2 for _ in prompts])                       # scales 2 to 5
    picked = torch.cat([torch.full((len(prompts), 1), len(SCALES) - 1), early], 1)          # (n, 4)
    latents = sums.gather(1, picked[:, :, None, None, None].expand(-1, -1, *sums.shape[2:]))
    pictures = bsq_vae.decode(vae, latents.flatten(0, 1)).unflatten(0, (-1, 4))
    objects = [detect(p[0].permute(1, 2, 0).numpy()) for p in pictures]
    torch.save({"img": pictures, "objects": objects, "prompts": prompts}, args.out / args.save)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("decodes", "samples"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=6_000)
    parser.add_argument("--vae", default="vae.pth")
    parser.add_argument("--generator", default="generator.pt")
    parser.add_argument("--save", default="samples.pt", help="file of `samples` inside --out")
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--tau", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, vae = time.time(), bsq_vae.load(args.out / args.vae)
    if args.what == "decodes":
        decodes(args.out, vae, args.count, args.seed)
    else:
        samples(args, vae)
    print(f"{args.count} {args.what} in {time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
