"""Trains the feature network: which shape and colour lies under every patch, and what the picture holds as a whole.

Half of the batches are blurred; with decodes.pt in --out a third shows decodes of fewer scales, as a search does.
"""
import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from optim import Ema, Optimizers, trapezoid
from precision import mixed
from vit import IMAGENET, VIT, feature_net, pixels

SHAPE_LABELS, COLOR_LABELS = 7, 9            # background first


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with train.pt")
    parser.add_argument("--steps", type=int, default=2_400)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--init", type=Path, help="go on from this checkpoint, with a third of the learning rate")
    parser.add_argument("--save", default="features.pt")
    parser.add_argument("--seed", type=int, default=2)
    return parser.parse_args()


class Supervised(nn.Module):
    """The feature network with two throw-away heads."""

    def __init__(self):
        super().__init__()
        self.vit = feature_net()
        self.patch = nn.Linear(VIT["dim"], SHAPE_LABELS + COLOR_LABELS)
        self.whole = nn.Linear(VIT["dim"], 5 + 6 + 8)                # number of objects, shapes and colours present

    def forward(self, x):
        tokens = self.vit(x)
        patch = self.patch(tokens[:, 1 + self.vit.registers:]).float()
        return patch.split([SHAPE_LABELS, COLOR_LABELS], -1), self.whole(tokens[:, 0]).float()


def patch_targets(data, rows):
    """Shape and colour label [B,64] of every patch; an object wins a patch from 20 % cover."""
    owner = F.one_hot(data["owner"][rows].long(), 5).float()
    share = owner.view(-1, 8, 8, 8, 8, 5).mean((2, 4)).flatten(1, 2)
    share[..., 0] *= 0.25
    winner = share.argmax(-1)
    label = lambda ids: torch.where(winner > 0, ids.gather(1, (winner - 1).clamp(min=0)) + 1, 0)
    return label(data["shape"][rows]), label(data["color"][rows])


def presence(data, rows):
    shapes, colors = data["shape"][rows], data["color"][rows]
    columns = [(shapes == s).any(1) for s in range(6)] + [(colors == c).any(1) for c in range(8)]
    return torch.stack(columns, 1).float(), (shapes >= 0).sum(1)


def blur(x, step):
    size = 4 if step % 4 == 1 else 8
    return F.interpolate(F.avg_pool2d(x, size), 64, mode="bilinear") + 0.03 * torch.randn(len(x), 1, 1, 1)


def batch(data, decodes, size, step):
    """Pictures and scene rows: clean, blurred, or decoded by the tokenizer."""
    if decodes and step % 3 == 2:
        pick = torch.randint(0, len(decodes["img"]), (size,))
        return pixels(decodes["img"][pick], IMAGENET), decodes["row"][pick]
    rows = torch.randint(0, len(data["img"]), (size,))
    x = pixels(data["img"][rows], IMAGENET)
    return (blur(x, step) if step % 2 else x), rows


def loss_of(model, data, x, rows):
    with mixed():
        (shape, color), whole = model(x)
    want_shape, want_color = patch_targets(data, rows)
    there, count = presence(data, rows)
    loss = F.cross_entropy(shape.flatten(0, 1), want_shape.flatten()) + F.cross_entropy(color.flatten(0, 1), want_color.flatten())
    loss = loss + 0.3 * F.cross_entropy(whole[:, :5], count) + 0.5 * F.binary_cross_entropy_with_logits(whole[:, 5:], there)
    right = (shape.argmax(-1) == want_shape) & (color.argmax(-1) == want_color)
    return loss, right[want_shape > 0].float().mean().item()


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    data = torch.load(args.out / "train.pt", mmap=True)
    decodes = torch.load(args.out / "decodes.pt") if (args.out / "decodes.pt").exists() else None
    model = Supervised()
    if args.init:
        model.load_state_dict(torch.load(args.init))
    rate = 1e-3 if args.init else 3e-3
    optimizers = Optimizers(model, rate, rate, lambda n, p: p.ndim == 2 and n.startswith("vit.blocks"))
    ema, began, running, accuracy = Ema(model, 0.99), time.time(), None, 0.0
    for step in range(args.steps):
        loss, right = loss_of(model, data, *batch(data, decodes, args.batch, step))
        optimizers.step(loss, trapezoid(step, args.steps, 50, args.steps), 5.0)
        ema.update()
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        accuracy = right if step == 0 else 0.98 * accuracy + 0.02 * right
        if (step + 1) % 100 == 0:
            print(json.dumps({"step": step + 1, "min": round((time.time() - began) / 60, 2), "loss": round(running, 4),
                              "object_patches_right": round(accuracy, 4)}), flush=True)
        if (step + 1) % 400 == 0 or step + 1 == args.steps:
            torch.save(ema.state_dict(), args.out / args.save)


if __name__ == "__main__":
    main()
