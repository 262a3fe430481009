"""Compares predictions of a latent verifier with scores and verdicts of the finished images, prompt by prompt.

The pairs are samples of tuning prompts: `verifier_prompts.py --tuning`, then `ttsvar collect --images --hidden-block 3 --samples 16`.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch

import bsq_vae
from captions import held_out, verbatim
from judge import judge_all
from latent_verifier import LatentEncoder
from safetensors.torch import load_file
from train_verifier import WEIGHTS, Pairs, load_reward, predict
from verifier_prompts import all_asks
from captions import TASKS
from vit import CLIP, pixels, reward_ids


def within(x, y):
    """Mean correlation within prompts [p,r], where both vary, and its standard error."""
    rows = [np.corrcoef(a, b)[0, 1] for a, b in zip(x, y) if a.std() > 1e-6 and b.std() > 1e-6]
    return f"{np.mean(rows):.3f} ± {np.std(rows) / len(rows) ** 0.5:.3f}"


def best_of(x, truth, n=8, draws=200):
    """Accuracy of the best of n samples by x, over random subsets."""
    rng, rows = np.random.default_rng(0), np.arange(len(x))[:, None]
    total = 0.0
    for _ in range(draws):
        pick = rng.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)[:, :n]
        total += truth[rows, pick][rows[:, 0], x[rows, pick].argmax(1)].mean()
    return round(total / draws, 3)


def report(name, x, score, truth, never):
    for part, rows in (("all", slice(None)), ("never trained on", never)):
        print(f"{name:<24} {part:<17} reward {within(x[rows], score[rows])}  truth {within(x[rows], truth[rows])}  "
              f"best of 8 {best_of(x[rows], truth[rows])}", flush=True)


@torch.no_grad()
def decoded_scores(reward, vae, latents, captions):
    out = []
    for rows in torch.arange(len(captions)).split(64):
        images = bsq_vae.decode(vae, latents[rows].float())
        out.append(reward(pixels(images, CLIP), reward_ids([captions[i] for i in rows])))
    return torch.cat(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=Path("../assets/demo"))
    parser.add_argument("--verifier", type=Path, help="safetensors or checkpoint [default: the bundle's]")
    parser.add_argument("--decode", action="store_true", help="also score decoded images of unfinished samples")
    args = parser.parse_args()
    torch.set_num_threads(1)
    reward, pairs = load_reward(args.bundle), Pairs(args.pairs)
    count = len(json.loads((args.pairs / "collect.json").read_text())["prompts"])
    asks = {verbatim(ask): ask for task in TASKS for ask in all_asks(task)}
    wishes = [{"task": asks[p].task} | asks[p].metadata() for p in pairs.prompts]
    by_prompt = lambda values: np.asarray(values, float).reshape(-1, count).T
    truth = by_prompt(judge_all(pairs.images, wishes))
    score = by_prompt(pairs.scores[:, 0])
    never = np.array([held_out(asks[p]) for p in pairs.prompts[:count]])
    tasks = np.array([asks[p].task for p in pairs.prompts[:count]])
    print(json.dumps({"prompts": count, "samples": truth.shape[1], "raw": round(truth.mean(), 3)}))
    report("finished image", score, score, truth, never)
    net, path = LatentEncoder(), args.verifier or args.bundle / "verifier.safetensors"
    state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    net.load_state_dict({k: v.float() for k, v in state.items()})
    net.eval()
    vae = bsq_vae.load(args.bundle / "infinity_vae.pth")
    for scale in WEIGHTS:
        latents = pairs.after(slice(None), scale)[0]
        x = by_prompt(predict(net, reward, pairs, pairs.prompts, torch.arange(len(latents)), scale))
        report(f"verifier after scale {scale}", x, score, truth, never)
        print("   by task: " + ", ".join(f"{t} {within(x[tasks == t], score[tasks == t])}" for t in TASKS))
        if args.decode:
            x = by_prompt(decoded_scores(reward, vae, latents, pairs.prompts))
            report(f"image after scale {scale}", x, score, truth, never)


if __name__ == "__main__":
    main()
