"""Trains the generator together with its text encoder on the codes of the scenes.

The learning rate is constant and falls to zero over the last --decay steps. A checkpoint holds everything, so
that --resume goes on exactly where it stopped; random numbers depend on seed and step only.
"""
import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import bsq_vae
from bsq_vae import BITS, SCALES
from captions import caption_of, scene_ask, test_prompts
from infinity import Block, Layout, teacher, teacher_logits
from judge import judge_all, table
from optim import Ema, Optimizers, trapezoid
from precision import mixed
from sampler import build, load_bundle, sample
from t5 import TEXT_LENGTH, token_ids

NOT_MUON = ("shared.weight", "lvl_embed", "cfg_uncond", "pos_start", "ada_gss", "head.", "word_embed", "relative_attention_bias")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with train.pt, val.pt and codes.pt")
    parser.add_argument("--steps", type=int, default=7_600)
    parser.add_argument("--decay", type=int, default=3_800, help="last steps, during which the rate falls")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--full", type=float, default=0.4, help="share of steps that include the last scale")
    parser.add_argument("--resume", action="store_true", help="go on from --save")
    parser.add_argument("--init", type=Path, help="start from the generator of this exported bundle")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate of both optimisers")
    parser.add_argument("--save", default="generator.pt", help="name of the checkpoint inside --out")
    parser.add_argument("--judge-every", type=int, default=2_000, help="steps between judged test samples")
    parser.add_argument("--vae", default="vae.pth", help="decoder for judged samples")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Data:
    """Codes and captions; a caption is drawn anew each time a scene is used."""

    def __init__(self, out):
        scenes, val = torch.load(out / "train.pt", mmap=True), torch.load(out / "val.pt")
        codes = torch.load(out / "codes.pt")
        fixed = random.Random(0)
        self.asks = [scene_ask(scenes, i) for i in range(len(codes["train"]))]
        keep = [i for i, ask in enumerate(self.asks) if caption_of(ask, fixed)]      # a few scenes allow no caption
        self.rows, self.codes = torch.tensor(keep), codes["train"]
        pairs = [(h, caption_of(scene_ask(val, i), fixed)) for i, h in enumerate(codes["val"][:280])]
        pairs = [(h, c) for h, c in pairs if c][:256]
        self.val = torch.stack([h for h, _ in pairs]).float(), token_ids([c for _, c in pairs], TEXT_LENGTH)

    def batch(self, step, size, seed):
        """Scenes in a new order every epoch; captions drawn for this step."""
        per_epoch = len(self.rows) // size
        epoch, place = divmod(step, per_epoch)
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(seed * 1000 + epoch))
        rows = self.rows[order[place * size:(place + 1) * size]]
        rng = random.Random(f"{seed}/{step}")
        captions = [caption_of(self.asks[i], rng) or "?" for i in rows.tolist()]
        return self.codes[rows].float(), token_ids(captions, TEXT_LENGTH)


class Loss:
    """Cross entropy of the bits; a token of an s x s scale has weight 1 / s."""

    def __init__(self, model, text_encoder):
        self.model, self.text_encoder, self.layout = model, text_encoder, Layout(model)
        self.weight = torch.cat([torch.full((s * s,), 1.0 / s) for s in SCALES])

    def per_token(self, h, ids, scales, strength, dropped):
        inputs, bits = teacher(h, strength, scales)
        with mixed():
            logits = teacher_logits(self.model, self.layout, self.text_encoder, ids, inputs, dropped)
        pair = logits.unflatten(-1, (BITS, 2))
        return F.softplus((pair[..., 0] - pair[..., 1]) * (bits.float() * 2 - 1)).mean((0, 2))      # (L,)

    def train(self, h, ids, scales):
        loss = self.per_token(h, ids, scales, 0.3, torch.rand(len(h)) < 0.1)
        weight = self.weight[:len(loss)]
        return (loss * weight).sum() / weight.sum()

    @torch.no_grad()
    def per_scale(self, h, ids):
        loss = self.per_token(h, ids, len(SCALES), 0.0, torch.zeros(len(h), dtype=torch.bool))
        return [round(part.mean().item(), 4) for part in loss.split([s * s for s in SCALES])]


def judged(vae, net, seed):
    prompts = test_prompts()
    pictures, _ = sample(vae, net["t5"], net["infinity"], [p["caption"] for p in prompts], seed=seed)
    return table(judge_all(pictures, prompts), prompts)


def save(path, net, ema, optimizers, step):
    state = ema.state_dict()
    parts = {name: {k[len(name) + 1:]: v for k, v in state.items() if k.startswith(name + ".")} for name in net}
    torch.save(parts | {"step": step, "live": net.state_dict(), "optimizers": optimizers.state_dict()}, path)


def restore(path, net, ema, optimizers):
    state = torch.load(path)
    net.load_state_dict(state["live"])
    optimizers.load_state_dict(state["optimizers"])
    averaged = {f"{name}.{k}": v for name in net for k, v in state[name].items()}
    ema.average = [averaged[name].clone() for name, _ in net.named_parameters()]
    ema.count = state["step"]
    return state["step"]


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    text_encoder, model = load_bundle(args.init)[1:] if args.init else build()
    net = nn.ModuleDict({"t5": text_encoder, "infinity": model}).train().requires_grad_(True)
    print({name: sum(p.numel() for p in part.parameters()) for name, part in net.items()}, flush=True)
    is_muon = lambda name, p: p.ndim == 2 and not any(part in name for part in NOT_MUON)
    optimizers, ema, path = Optimizers(net, args.rate, args.rate, is_muon), Ema(net, 0.997), args.out / args.save
    start = restore(path, net, ema, optimizers) if args.resume else 0
    data, loss_of, vae = Data(args.out), Loss(model, text_encoder), bsq_vae.load(args.out / args.vae)
    compiled, running, began = torch.compile(Block.forward, dynamic=False), None, time.time()
    for step in range(start, args.steps):
        torch.manual_seed(args.seed * 1_000_000 + step)
        scales = len(SCALES) - (torch.rand(()).item() >= args.full)
        model.run_block = compiled
        loss = loss_of.train(*data.batch(step, args.batch, args.seed), scales)
        optimizers.step(loss, trapezoid(step, args.steps, 60, args.decay), 2.0)
        ema.update()
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % 50:
            continue
        minutes = (time.time() - began) / 60
        record = {"step": step + 1, "min": round(minutes, 2), "loss": round(running, 4)}
        record["per_s"] = round((step + 1 - start) * args.batch / minutes / 60, 1)
        if (step + 1) % 500 == 0 or step + 1 == args.steps:
            model.run_block = Block.forward
            with ema:
                record["val_bits"] = loss_of.per_scale(*data.val)
                if (step + 1) % args.judge_every == 0 or step + 1 == args.steps:
                    record["raw"] = judged(vae, net, step)
            save(path, net, ema, optimizers, step + 1)
        print(json.dumps(record), flush=True)
        with open(path.with_suffix(".jsonl"), "a") as log:
            log.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
