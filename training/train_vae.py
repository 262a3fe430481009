"""Trains the picture tokenizer: first on 32 x 32 crops around objects (4 times cheaper), then on whole pictures.

With --decoder-only the encoder stays as it is and only the decoder goes on learning, so that codes made from
an earlier checkpoint remain valid.
"""
import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import bsq_vae
from bsq_vae import SCALES, multi_scale
from optim import Ema, Optimizers, trapezoid
from precision import mixed

HALF = [(s + 1) // 2 for s in SCALES]                 # the schedule of a 4 x 4 latent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with train.pt and val.pt")
    parser.add_argument("--crop-steps", type=int, default=2600)
    parser.add_argument("--whole-steps", type=int, default=800)
    parser.add_argument("--init", type=Path, help="start from this VAE file")
    parser.add_argument("--decoder-only", action="store_true")
    parser.add_argument("--lr", type=float, default=1.0, help="factor on both learning rates")
    parser.add_argument("--save", default="vae.pth", help="name of the checkpoint inside --out")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def batch(data, rows, crop):
    """Pictures in [-1, 1] and pixel weights: objects and their rim count 5 times as much as the background."""
    x, owner = data["img"][rows], data["owner"][rows]
    if crop:
        j = torch.randint(0, 4, (len(rows),))
        there = data["shape"][rows, j] >= 0
        centre = torch.where(there[:, None], data["geo"][rows, j, :2], torch.rand(len(rows), 2) * 64)
        corner = (centre - 16 + torch.randn(len(rows), 2) * 7).round().long().clamp(0, 32).tolist()
        x = torch.stack([p[:, v:v + 32, u:u + 32] for p, (u, v) in zip(x, corner)])
        owner = torch.stack([p[v:v + 32, u:u + 32] for p, (u, v) in zip(owner, corner)])
    weight = 1 + 4 * F.max_pool2d((owner > 0).float()[:, None], 5, 1, 2)
    return x.float() / 127.5 - 1, weight


def reconstruct(vae, x, shorten):
    """Decoded pictures and encoder output; with `shorten`, 20 % of the rows are decoded from fewer scales."""
    with mixed():
        h = vae.encoder(x)
    scales = HALF if x.shape[-1] == 32 else SCALES
    sums, _ = multi_scale(h.float(), scales)
    z = sums[-1]
    if shorten:
        last = len(scales) - 1
        k = torch.where(torch.rand(len(x)) < 0.2, torch.randint(2, last + 1, (len(x),)), last)
        z = torch.stack(sums)[k, torch.arange(len(x))]
    with mixed():
        return vae.decoder(z).float(), h.float()


def loss_of(vae, x, weight, shorten=True):
    y, h = reconstruct(vae, x, shorten)
    error = y - x
    loss = (weight * (error.abs() + error * error)).sum() / weight.sum() / 3
    return loss + 0.002 * F.relu(h.pow(2).mean(1) - 1).mean()      # keeps the encoder output near the sphere


@torch.no_grad()
def validate(vae, data):
    x, weight = batch(data, torch.arange(128), False)
    y, _ = reconstruct(vae, x, False)
    mse = ((y.clamp(-1, 1) - x) / 2).pow(2).mean()
    return {"val_loss": round(loss_of(vae, x, weight, False).item(), 4), "psnr": round(-10 * mse.log10().item(), 2)}


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    train, val = torch.load(args.out / "train.pt", mmap=True), torch.load(args.out / "val.pt")
    vae = bsq_vae.load(args.init) if args.init else bsq_vae.Vae()
    vae.requires_grad_(True).train()
    vae.encoder.requires_grad_(not args.decoder_only)
    kernels = lambda n, p: p.ndim == 4 and "conv_in" not in n and "decoder.conv_out" not in n
    optimizers, ema = Optimizers(vae, 3e-3 * args.lr, 2e-3 * args.lr, kernels), Ema(vae, 0.995)
    steps, began, running, log = args.crop_steps + args.whole_steps, time.time(), None, []
    for step in range(steps):
        crop = step < args.crop_steps
        rows = torch.randint(0, len(train["img"]), (40 if crop else 16,))
        loss = loss_of(vae, *batch(train, rows, crop))
        optimizers.step(loss, trapezoid(step, steps, 30, steps), 1.0)
        ema.update()
        running = loss.item() if running is None else 0.97 * running + 0.03 * loss.item()
        if (step + 1) % 50 == 0:
            record = {"step": step + 1, "min": round((time.time() - began) / 60, 2), "crop": crop, "loss": round(running, 4)}
            if (step + 1) % 300 == 0 or step + 1 == steps:
                with ema:
                    record |= validate(vae, val)
                torch.save({"vae": ema.state_dict()}, args.out / args.save)
            log.append(record)
            print(json.dumps(record), flush=True)
    (args.out / args.save).with_suffix(".json").write_text(json.dumps(log, indent=1))


if __name__ == "__main__":
    main()
