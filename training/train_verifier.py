"""Trains the latent verifier on pairs that `ttsvar collect --images --hidden-block 3` wrote.

First it learns the image encoder's tokens of the finished images; then these and the reward for several captions, half
and half. Everything behind the tokens is the reward's own and stays as it is.
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from latent_verifier import LatentEncoder
from optim import Ema, Optimizers
from precision import mixed
from vit import CLIP, ImageReward, pixels, reward_ids

WEIGHTS = {2: 0.1, 3: 0.4, 4: 0.3, 5: 0.2}     # how often each scale is trained on


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of `ttsvar collect`")
    parser.add_argument("--bundle", type=Path, default=Path("../assets/demo"))
    parser.add_argument("--save", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--init", type=Path, help="go on from this checkpoint")
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--tokens", type=float, default=0.4, help="share of the steps with tokens only")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=Path, help="write the weights for a bundle here")
    return parser.parse_args()


def load_reward(bundle):
    """The bundle's reward, frozen."""
    reward = ImageReward()
    state = torch.load(bundle / "ImageReward.pt", weights_only=True)
    reward.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, strict=False)
    return reward.eval().requires_grad_(False)


class Pairs:
    """All samples of a folder.

    Latents [n,scales,16,8,8], hidden states [n,128,h,w] per scale, images uint8 [n,3,64,64], captions and scores [n,m].
    """

    def __init__(self, folder):
        collection = json.loads((folder / "collect.json").read_text())
        self.scales, self.settings = collection["scales"], collection["settings"]
        latents, images, scores, samples = [], [], [], []
        hidden = {scale: [] for scale in WEIGHTS}
        for path in sorted(folder.glob("pairs-*.safetensors")):
            with safe_open(path, "pt") as shard:
                latents.append(shard.get_tensor("latents"))
                for scale, states in hidden.items():
                    states.append(shard.get_tensor(f"hidden.{scale}"))
                images.append(shard.get_tensor("images").permute(0, 3, 1, 2).contiguous())
                scores.append(shard.get_tensor("scores").view(len(latents[-1]), -1))
                samples += json.loads(shard.metadata()["samples"])
        self.latents, self.images, self.scores = map(torch.cat, (latents, images, scores))
        self.hidden = {scale: torch.cat(states) for scale, states in hidden.items()}
        self.samples = samples
        self.prompts = [sample["prompt"] for sample in samples]
        self.captions = [sample["captions"] for sample in samples]

    def after(self, rows, scale):
        """What the network reads of some samples."""
        return self.latents[rows, self.scales.index(scale)], self.hidden[scale][rows], scale


@torch.no_grad()
def target_tokens(reward, images, batch=128):
    """The image encoder's tokens of finished images, in half precision."""
    out = []
    for part in images.split(batch):
        with mixed():
            out.append(reward.blip.visual_encoder(pixels(part, CLIP)).half())
    return torch.cat(out)


def cached_tokens(reward, images, path):
    """The same, computed once for all trainings on these pairs."""
    if path.exists() and len(tokens := torch.load(path, weights_only=True)) == len(images):
        return tokens
    tokens = target_tokens(reward, images)
    torch.save(tokens, path)
    return tokens


@torch.no_grad()
def predict(net, reward, pairs, captions, rows, scale, batch=256):
    """Predicted rewards of samples for one caption each."""
    out = []
    for part in torch.arange(len(rows)).split(batch):
        with mixed():
            tokens = net(*pairs.after(rows[part], scale))
            out.append(reward.score(tokens, reward_ids([captions[i] for i in part])).float())
    return torch.cat(out)


def validate(net, reward, pairs, rows):
    """Correlation of prediction and reward on samples that training left out, for the prompt and a changed caption."""
    report = {}
    for scale in WEIGHTS:
        for name, which in (("prompt", 0), ("changed", 1)):
            captions = [pairs.captions[i][which] for i in rows]
            guess = predict(net, reward, pairs, captions, rows, scale)
            report[f"{name} {scale}"] = round(float(np.corrcoef(guess, pairs.scores[rows, which])[0, 1]), 3)
    return report


def rate_factor(step, steps):
    """Linear over 30 steps, then a cosine."""
    return min(1.0, (step + 1) / 30) * max(1e-3, 0.5 + 0.5 * np.cos(np.pi * step / steps))


def export(net, path):
    state = {k: v.detach().to(torch.bfloat16).contiguous() for k, v in net.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    reward, pairs = load_reward(args.bundle), Pairs(args.pairs)
    began = time.time()
    targets = cached_tokens(reward, pairs.images, args.pairs / "tokens.pt")
    print(json.dumps({"samples": len(pairs.prompts), "target_minutes": round((time.time() - began) / 60, 2)}), flush=True)
    ids = reward_ids([c for captions in pairs.captions for c in captions]).view(len(pairs.prompts), pairs.scores.shape[1], -1)
    net = LatentEncoder().start_from(reward.blip.visual_encoder)
    if args.init:
        net.load_state_dict(torch.load(args.init, weights_only=True), strict=False)
    every = torch.arange(len(pairs.prompts))
    held, rows = every[every % 16 == 0], every[every % 16 != 0]
    is_muon = lambda n, p: p.ndim == 2 and "embed" not in n
    optimizers, ema = Optimizers(net, args.rate, args.rate, is_muon), Ema(net, 0.99)
    scales, chances = list(WEIGHTS), torch.tensor(list(WEIGHTS.values()))
    began, log = time.time(), []
    for step in range(args.steps):
        batch = rows[torch.randint(len(rows), (args.batch,))]
        scale = scales[int(torch.multinomial(chances, 1))]
        with mixed():
            tokens = net(*pairs.after(batch, scale))
            loss = token_loss = F.mse_loss(tokens.float(), targets[batch].float())
            score_loss = torch.tensor(float("nan"))
            if step >= args.tokens * args.steps:
                which = torch.where(torch.rand(args.batch) < 0.5, 0, torch.randint(1, pairs.scores.shape[1], (args.batch,)))
                guess = reward.score(tokens, ids[batch, which])
                score_loss = F.smooth_l1_loss(guess.float(), pairs.scores[batch, which], beta=0.5)
                loss = 0.5 * token_loss + 0.5 * score_loss
        optimizers.step(loss, rate_factor(step, args.steps), 1.0)
        ema.update()
        log.append((token_loss.item(), score_loss.item()))
        if (step + 1) % 100 == 0 or step + 1 == args.steps:
            tokens, scores = np.array(log[-100:]).T
            record = {"step": step + 1, "min": round((time.time() - began) / 60, 2), "tokens": round(float(tokens.mean()), 4),
                      "score": round(float(scores.mean()), 4)}
            if (step + 1) % 500 == 0 or step + 1 == args.steps:
                with ema:
                    record |= validate(net, reward, pairs, held)
                    torch.save(net.state_dict(), args.save)
            print(json.dumps(record), flush=True)
    if args.export:
        with ema:
            export(net, args.export)


if __name__ == "__main__":
    main()
