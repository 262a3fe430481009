"""Draws pictures from the generator, scale by scale, with guidance; many prompts at once."""
import torch
from safetensors.torch import load_file

import bsq_vae
from bsq_vae import BITS, SCALES, resize
from infinity import DEMO as INFINITY_DEMO
from infinity import Infinity, Layout
from precision import mixed
from t5 import DEMO as T5_DEMO
from t5 import PAD, T5, token_ids


def build():
    """An untrained text encoder and generator of the demo's sizes."""
    return T5(**T5_DEMO), Infinity(**INFINITY_DEMO)


def load(path):
    """Frozen text encoder and generator from a training checkpoint."""
    state = torch.load(path, weights_only=True, mmap=True)
    text_encoder, model = build()
    text_encoder.load_state_dict(state["t5"])
    model.load_state_dict(state["infinity"])
    return text_encoder.eval().requires_grad_(False), model.eval().requires_grad_(False)


def load_bundle(folder):
    """Frozen tokenizer, text encoder and generator from an exported bundle."""
    text_encoder, model = build()
    text_encoder.load_state_dict({k: v.float() for k, v in load_file(folder / "t5" / "model.safetensors").items()})
    model.load_state_dict({k: v.float() for k, v in torch.load(folder / "infinity.pth", weights_only=True).items()})
    frozen = (m.eval().requires_grad_(False) for m in (text_encoder, model))
    return bsq_vae.load(folder / "infinity_vae.pth"), *frozen


def bit_probability(logits, tau, top_p):
    """P(bit = 1) from logits [...,2*bits]; a side at or below 1 - top_p is never drawn."""
    pair = logits.unflatten(-1, (-1, 2)) / tau
    p = torch.sigmoid(pair[..., 1] - pair[..., 0])
    return torch.where(p <= 1 - top_p, 0.0, torch.where(p >= top_p, 1.0, p))


class Sampler:
    """The state of B unfinished pictures; the second half of all text rows is unconditional."""

    def __init__(self, text_encoder, model, captions, cfg, tau, top_p=0.97, seed=0):
        self.model, self.cfg, self.tau, self.top_p = model, cfg, tau, top_p
        self.generator, self.layout = torch.Generator().manual_seed(seed), Layout(model)
        ids = token_ids(captions)
        features, b = text_encoder(ids), len(ids)
        self.text = model.text(torch.cat([features] * 2), torch.cat([ids != PAD] * 2), torch.arange(2 * b) >= b)
        self.total = torch.zeros(b, BITS, SCALES[-1], SCALES[-1])
        self.caches, self.scale, self.seen = [[] for _ in model.blocks], 0, 0

    def hidden(self, side):
        if self.scale == 0:
            return self.model.start(self.text[0])
        tokens = resize(self.total, side).flatten(2).transpose(1, 2)
        return self.model.embed(tokens, torch.tensor(self.scale)).repeat(2, 1, 1)

    @torch.no_grad()
    def step(self):
        """Draws the next scale; returns the running sum [B,16,8,8]."""
        side, b = SCALES[self.scale], len(self.total)
        stop = self.seen + side * side
        rope = self.layout.cos[self.seen:stop], self.layout.sin[self.seen:stop]
        logits = self.model.logits(self.hidden(side), self.text, None, rope, self.caches)
        logits = self.cfg * logits[:b] + (1 - self.cfg) * logits[b:]
        p = bit_probability(logits, self.tau, self.top_p)
        drawn = torch.rand(p.shape, generator=self.generator) < p
        codes = torch.where(drawn, 1.0, -1.0) * BITS ** -0.5
        self.total = self.total + resize(codes.transpose(1, 2).unflatten(-1, (side, side)), SCALES[-1])
        self.scale, self.seen = self.scale + 1, stop
        return self.total


@torch.no_grad()
def sample(vae, text_encoder, model, captions, cfg=2.0, tau=0.5, seed=0, batch=120):
    """-> uint8 pictures [n,3,64,64] and the running sums after every scale [n,7,16,8,8]."""
    pictures, sums = [], []
    for i in range(0, len(captions), batch):
        with mixed():
            sampler = Sampler(text_encoder, model, captions[i:i + batch], cfg, tau, seed=seed + i)
            totals = [sampler.step().float() for _ in SCALES]
        pictures.append(bsq_vae.decode(vae, totals[-1]))
        sums.append(torch.stack(totals, 1))
    return torch.cat(pictures), torch.cat(sums)
