"""Trains the reward: does the caption hold for the picture?

Captions are proposed around the objects of a picture and labelled by GenEval's rules. Pictures are scenes, decodes of
scenes (decodes.pt) and, once there is a generator, its own finished and unfinished samples (samples*.pt), whose label
is that of the finished picture. The score times GAIN is the log-odds of `true`, so scores lie between about -2 and 2.
"""
import argparse
import json
import random
import time
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from captions import PLURAL, TASKS, held_out, verbatim
from judge import correct
from optim import Ema, Optimizers, trapezoid
from precision import mixed
from reward_captions import labelled, propose, scene_objects
from vit import CLIP, REWARD_MEAN, TEXT, WORD_IDS, ImageReward, pixels, reward_ids, vision_from_features
from world import SHAPES, SIZE

GAIN, CAPTIONS = 3.0, 4                       # log-odds per unit of score; captions per picture
NOUNS = {WORD_IDS[w]: s for s in SHAPES for w in (s, PLURAL[s])}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with train.pt, val.pt, features.pt")
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--stop", type=int, help="end at this step of the schedule")
    parser.add_argument("--batch", type=int, default=32, help="pictures per step")
    parser.add_argument("--init", type=Path, help="go on from this checkpoint, at half the learning rate")
    parser.add_argument("--samples", nargs="*", default=[], help="files of own samples inside --out")
    parser.add_argument("--save", default="reward.pt")
    parser.add_argument("--seed", type=int, default=3)
    return parser.parse_args()


class Pictures:
    """Draws pictures with the objects in them and, for own samples, the prompt they were made for."""

    def __init__(self, out, samples):
        self.train = torch.load(out / "train.pt", mmap=True)
        self.decodes = torch.load(out / "decodes.pt") if (out / "decodes.pt").exists() else None
        self.samples = [torch.load(out / name) for name in samples]

    def scene(self, rng):
        row = rng.randrange(len(self.train["img"]))
        return self.train["img"][row], scene_objects(self.train, row), None

    def decode(self, rng):
        i = rng.randrange(len(self.decodes["img"]))
        return self.decodes["img"][i], scene_objects(self.train, int(self.decodes["row"][i])), None

    def sample(self, rng):
        file = rng.choice(self.samples)
        i = rng.randrange(len(file["img"]))
        view = 0 if rng.random() < 0.5 else rng.randrange(1, 4)
        return file["img"][i, view], file["objects"][i], file["prompts"][i]

    def draw(self, rng):
        chance = rng.random()
        if self.samples and chance < 0.6:
            return self.sample(rng)
        return self.decode(rng) if self.decodes and chance < 0.8 else self.scene(rng)

    def batch(self, size, rng):
        """Pictures [B,3,64,64], their objects, and CAPTIONS (caption, truth) pairs for each in a flat list."""
        images, objects, pairs = [], [], []
        for _ in range(size):
            image, seen, prompt = self.draw(rng)
            own = [(prompt["caption"], correct(seen, prompt))] if prompt else []
            images.append(image)
            objects.append(seen)
            pairs += own + labelled(seen, rng, CAPTIONS - len(own))
        return torch.stack(images), objects, pairs


class Pointer(nn.Module):
    """A throw-away head that makes noun words, after they have looked at the picture, tell where their object is.

    Without it relations between objects are hardly learned.
    """

    def __init__(self):
        super().__init__()
        self.where = nn.ModuleList(nn.Linear(TEXT["dim"], 3) for _ in range(2))

    def targets(self, ids, objects):
        """Per word: there is exactly one such object, the noun occurs at all; centre in [-1, 1]; present or not."""
        one, noun = torch.zeros(ids.shape, dtype=torch.bool), torch.zeros(ids.shape, dtype=torch.bool)
        centre, present = torch.zeros(*ids.shape, 2), torch.zeros(ids.shape)
        for i, row in enumerate(ids.tolist()):
            for j, word in enumerate(row):
                if word in NOUNS:
                    boxes = [o["box"] for o in objects[i // CAPTIONS] if o["class"] == NOUNS[word]]
                    noun[i, j], present[i, j], one[i, j] = True, float(bool(boxes)), len(boxes) == 1
                    if len(boxes) == 1:
                        x0, y0, x1, y1 = boxes[0]
                        centre[i, j] = torch.tensor([(x0 + x1) / SIZE - 1, (y0 + y1) / SIZE - 1])
        return one, noun, centre, present

    def loss(self, hidden, ids, objects):
        one, noun, centre, present = self.targets(ids, objects)
        total = 0.0
        for head, x in zip(self.where, hidden):
            out = head(x).float()
            total = total + F.smooth_l1_loss(out[one][:, :2], centre[one], beta=0.1)
            total = total + 0.2 * F.binary_cross_entropy_with_logits(out[noun][:, 2], present[noun])
        return total


def forward(model, images, ids):
    """Scores [B * CAPTIONS] and the hidden states after the first two text layers."""
    hidden, hooks = [], []
    for layer in model.blip.text_encoder.encoder.layer[:2]:
        hooks.append(layer.register_forward_hook(lambda _, __, y: hidden.append(y)))
    with mixed():
        tokens = model.blip.visual_encoder(pixels(images, CLIP))
        scores = model.score(tokens.repeat_interleave(len(ids) // len(images), 0), ids)
    for hook in hooks:
        hook.remove()
    return scores, hidden


@torch.no_grad()
def validate(model, val, count=300):
    """Accuracy per task on validation scenes with one true and one false caption of every task."""
    rng, right = random.Random(11), defaultdict(list)
    for row in range(count):
        objects, pairs = scene_objects(val, row), []
        for task in TASKS:
            for wanted in (True, False):
                asks = (propose(objects, task, rng) for _ in range(20))
                ask = next((a for a in asks if not held_out(a) and correct(objects, a.metadata()) == wanted), None)
                pairs += [(task, wanted, verbatim(ask))] if ask else []
        scores, _ = forward(model, val["img"][row:row + 1], reward_ids([c for *_, c in pairs]))
        for (task, wanted, _), score in zip(pairs, scores.tolist()):
            right[task].append((score > 0) == wanted)
    return {task: round(sum(v) / len(v), 3) for task, v in right.items()}


@torch.no_grad()
def validate_prompts(model, file):
    """Area under the curve of the score against the judge on own samples and prompts, finished and unfinished."""
    ids, out = reward_ids([p["caption"] for p in file["prompts"]]), {}
    truth = torch.tensor([correct(o, p) for o, p in zip(file["objects"], file["prompts"])])
    for name, view in (("finished", 0), ("unfinished", 1)):
        scores = torch.cat([forward(model, file["img"][i:i + 100, view], ids[i:i + 100])[0] for i in range(0, 600, 100)])
        yes, no = scores[truth[:600]], scores[~truth[:600]]
        out[name] = round((yes[:, None] > no[None]).float().mean().item(), 3)
        out[name + "_mean_std"] = [round(scores.mean().item(), 2), round(scores.std().item(), 2)]
    return out


def fresh(out):
    model = ImageReward()
    features = torch.load(out / "features.pt")
    model.blip.visual_encoder.load_state_dict(
        vision_from_features({k[4:]: v for k, v in features.items() if k.startswith("vit.")}))
    nn.init.constant_(model.mlp.layers[7].bias, REWARD_MEAN)
    return model


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng, pictures, val = random.Random(args.seed), Pictures(args.out, args.samples), torch.load(args.out / "val.pt")
    model = ImageReward() if args.init else fresh(args.out)
    if args.init:
        model.load_state_dict(torch.load(args.init))
    model.blip.vision_proj.requires_grad_(False)
    model.blip.text_proj.requires_grad_(False)
    both, rate = nn.ModuleDict({"reward": model, "pointer": Pointer()}), 1e-3 if args.init else 2e-3
    is_muon = lambda n, p: p.ndim == 2 and "embeddings" not in n and "mlp.layers.7" not in n and "pointer" not in n
    optimizers, ema = Optimizers(both, rate, rate, is_muon), Ema(both, 0.995)
    began, running, accuracy = time.time(), None, 0.5
    last = args.stop or args.steps
    for step in range(last):
        images, objects, pairs = pictures.batch(args.batch, rng)
        ids, truth = reward_ids([c for c, _ in pairs]), torch.tensor([float(t) for _, t in pairs])
        scores, hidden = forward(model, images, ids)
        guess = F.binary_cross_entropy_with_logits(GAIN * scores, truth)
        loss = guess + both["pointer"].loss(hidden, ids, objects)
        optimizers.step(loss, trapezoid(step, args.steps, 100, int(0.7 * args.steps)), 1.0)
        ema.update()
        running = guess.item() if running is None else 0.98 * running + 0.02 * guess.item()
        accuracy = 0.98 * accuracy + 0.02 * ((scores > 0) == (truth > 0.5)).float().mean().item()
        if (step + 1) % 100 == 0 or step + 1 == last:
            record = {"step": step + 1, "min": round((time.time() - began) / 60, 2), "loss": round(running, 4),
                      "total": round(loss.item(), 3), "accuracy": round(accuracy, 4)}
            if (step + 1) % 500 == 0 or step + 1 == last:
                with ema:
                    record["val"] = validate(model, val)
                    if pictures.samples:
                        record["own_prompts"] = validate_prompts(model, pictures.samples[-1])
                state = {k[7:]: v for k, v in ema.state_dict().items() if k.startswith("reward.")}
                torch.save(state, args.out / args.save)
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
