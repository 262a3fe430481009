#!/usr/bin/env python3
"""A PyTorch peer for timing: Infinity sampling and the TTS-VAR search, in one self-contained file.

The transformer, the multi-scale bit codes and the VAE decoder follow the semantics of the released
Infinity model, so `--check` reproduces recorded logits and pictures of the original program. For timing
the weights are random and made in memory, because speed does not depend on their values.

Loops
  single    one guided image, then one decode
  official  TTS-VAR in the order, and with the repeated work, of the released program: one copy of the
            text features per candidate, K/V grown by torch.cat, cross-attention K/V projected again at
            every scale, every candidate decoded at every scale, the whole K/V cache cloned, indexed and
            cloned at each selection, and the finished latent decoded a second time
  lean      the same search written as one would write it with care: text projected once for the two
            guidance halves, preallocated K/V, scale 0 (equal for all candidates) computed once, pictures
            decoded only where a selection reads them, no second decode
  bon       best of N full samples, with the machinery of `lean`, decoded at the end only

Precision with --dtype bf16: `official` runs under autocast with the weight types of the released program
(blocks bfloat16, everything else float32, cached keys float32); the other loops hold all weights and
activations in bfloat16. Logits, sampling, running sum of codes and rotary tables are float32 everywhere.

The two scorers are stand-ins that cost almost nothing, and no text encoder runs, so both sides of a
comparison must leave those out. FLOPs (2 per multiply-add) are those a loop really executes: linear
layers, attention products and convolutions only. One JSON line is printed; seconds are medians.

Examples
  torch_infinity.py --check
  torch_infinity.py --ops --size infinity-layer12 --pn 0.06M
  torch_infinity.py --size infinity-layer12 --pn 0.06M --loop official --threads 2 --repeat 5
  torch_infinity.py --size 2b --pn 1M --loop lean --dtype bf16 --device cuda --channels-last
"""
import argparse
import json
import math
import os
import resource
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SIZES = {  # width, depth, heads, tokens cover 2x2 VAE cells
    "infinity-layer12": (768, 12, 8, False), "infinity-layer16": (1152, 16, 12, False),
    "infinity-layer24": (1536, 24, 16, False), "2b": (2048, 32, 16, False), "8b": (3584, 40, 28, True)}
SIDES = [1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64]  # square token grids, coarse to fine
SCALES = {"0.06M": 7, "0.25M": 10, "0.60M": 12, "1M": 13}
PLANS = {  # scales: (candidates leaving each scale, clustering after, resampling after)
    7: ([8, 8, 6, 4, 2, 1, 1], (2, 3), (4, 5)),
    10: ([8, 8, 6, 6, 6, 4, 2, 2, 1, 1], (2, 5), (6, 8)),
    12: ([8, 8, 6, 6, 6, 4, 2, 2, 2, 1, 1, 1], (2, 5), (6, 9)),
    13: ([8, 8, 6, 6, 6, 4, 2, 2, 2, 1, 1, 1, 1], (2, 5), (6, 9))}
TEXT_DIM, TEXT_LEN, TEXT_MAX = 2048, 20, 512
CFG, TAU, TOP_P, LAMBDA = 3.0, 0.5, 0.97, 10.0
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "data")


class Meter:
    """Cuts one run into named stretches of time and counts the FLOPs spent in them.

    On CUDA the cuts are events in the stream, so measuring does not stall it; both ends of the run
    synchronise."""

    def __init__(self, device):
        self.cuda, self.cuts, self.flops = device.type == "cuda", [], {}

    def _now(self):
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def start(self):
        if self.cuda:
            torch.cuda.synchronize()
        self.began, self.cuts, self.flops = time.perf_counter(), [("", self._now())], {}

    def mark(self, name, flops=0):
        """Ends the stretch since the last mark and books it, and its FLOPs, under `name`."""
        self.cuts.append((name, self._now()))
        self.flops[name] = self.flops.get(name, 0) + flops

    def finish(self):
        if self.cuda:
            torch.cuda.synchronize()
        spent = {"total": time.perf_counter() - self.began}
        for (_, a), (name, b) in zip(self.cuts, self.cuts[1:]):
            spent[name] = spent.get(name, 0.0) + (a.elapsed_time(b) / 1e3 if self.cuda else b - a)
        return spent


# ---------------------------------------------------------------------------------- transformer


def rotate(x, cos, sin):
    """Turns the interleaved pairs (2i, 2i+1) of the last axis."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def modulate(x, scale, shift):
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class Block(nn.Module):
    """One transformer block. Hidden states are [groups, tokens, width]: a group is whatever shares one
    text and one modulation, either a single row or all candidates of one guidance half. Only
    self-attention needs to know the rows inside a group.

    `wide` follows the mixed precision of the released program: norms and cached keys in float32."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.wide = heads, False
        self.mod = nn.Parameter(torch.randn(6, dim) / dim ** 0.5)  # gates 1, 2; scales 1, 2; shifts 1, 2
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.log_gain = nn.Parameter(torch.full((heads,), math.log(4.0)))  # cosine attention sharpness
        self.ca_norm = nn.LayerNorm(dim, eps=1e-6)
        self.ca_q, self.ca_kv, self.ca_proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.hidden = round(4 * dim / 256) * 256
        self.fc1, self.fc2 = nn.Linear(dim, self.hidden), nn.Linear(self.hidden, dim)

    def norm_input(self, x):
        return x.float() if self.wide else x

    def project(self, x, shared, rope, rows):
        """Queries, keys and values [rows, heads, tokens of this scale, head width]."""
        _, _, scale, _, shift, _ = (self.mod + shared).unbind(-2)
        y = self.qkv(modulate(self.norm_input(x), scale[:, None], shift[:, None]))
        q, k, v = y.view(rows, -1, 3, self.heads, y.shape[-1] // 3 // self.heads).permute(2, 0, 3, 1, 4)
        gain = self.log_gain.float().clamp(max=math.log(100)).exp().view(1, -1, 1, 1)
        q = rotate(F.normalize(q.float(), dim=-1, eps=1e-12) * gain, *rope)
        k = rotate(F.normalize(k.float(), dim=-1, eps=1e-12), *rope)
        return (q, k, v) if self.wide else (q.to(v.dtype), k.to(v.dtype), v)

    def text_kv(self, rows):
        k, v = self.ca_kv(rows).view(*rows.shape[:2], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return k, v

    def finish(self, x, attended, shared, text_kv, mask):
        """Output projection, cross-attention and feed-forward, each with its residual."""
        gate1, gate2, _, scale, _, shift = (self.mod + shared).unsqueeze(-2).unbind(1)
        x = x + self.proj(attended.transpose(1, 2).reshape(x.shape)).mul_(gate1)
        norm = F.layer_norm(self.norm_input(x), x.shape[-1:], self.norm_input(self.ca_norm.weight),
                            self.norm_input(self.ca_norm.bias), 1e-6)
        q = self.ca_q(norm).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        seen = F.scaled_dot_product_attention(q, *text_kv, attn_mask=mask)
        x = x + self.norm_input(self.ca_proj(seen.transpose(1, 2).flatten(2)))
        y = self.fc1(modulate(self.norm_input(x), scale, shift))
        return x + self.fc2(F.gelu(y, approximate="tanh")).mul_(gate2)


class GrowingCache:
    """K/V as the released program keeps it: concatenated at every scale, copied whole at a selection."""

    def __init__(self, depth):
        self.kv = [None] * depth

    def extend(self, i, k, v):
        if self.kv[i] is not None:
            k, v = torch.cat((self.kv[i][0], k), 2), torch.cat((self.kv[i][1], v), 2)
        self.kv[i] = k, v
        return k, v

    def advance(self, tokens):
        pass

    def keep(self, rows):
        copies = [(k.clone(), v.clone()) for k, v in self.kv]
        for i, (k, v) in enumerate(copies):
            copies[i] = k[rows], v[rows]
        for i, (k, v) in enumerate(copies):
            self.kv[i] = k.clone(), v.clone()
        if copies[0][0].is_cuda:
            torch.cuda.empty_cache()


class FixedCache:
    """K/V in buffers made once for all scales up to the next selection."""

    def __init__(self, depth, shape, dtype, device):
        """`shape` is (rows, heads, capacity in tokens, head width)."""
        self.used, self.kv = 0, [torch.empty((2, *shape), dtype=dtype, device=device) for _ in range(depth)]

    def extend(self, i, k, v):
        buf, end = self.kv[i], self.used + k.shape[2]
        if k.shape[0] == buf.shape[1]:
            buf[0, :, :, self.used:end], buf[1, :, :, self.used:end] = k, v
        else:  # scale 0 was computed once per guidance half: spread it over the candidates
            spread = buf.unflatten(1, (k.shape[0], -1))
            spread[0, :, :, :, :end], spread[1, :, :, :, :end] = k[:, None], v[:, None]
        return (k, v) if self.used == 0 else buf[:, :, :, :end].unbind(0)

    def advance(self, tokens):
        self.used += tokens

    def keep(self, rows, capacity):
        for i, old in enumerate(self.kv):
            new = old.new_empty((2, len(rows), old.shape[2], capacity, old.shape[4]))
            new[:, :, :, :self.used] = old[:, rows, :, :self.used]
            self.kv[i] = new


class Text:
    """What the blocks need of the prompt: hidden rows, pooled vector, shared modulation and, when
    `kv` is set, the cross-attention keys and values of every block."""

    def __init__(self, rows, pooled, shared, mask=None, kv=None):
        self.rows, self.pooled, self.shared, self.mask, self.kv = rows, pooled, shared, mask, kv

    def pick(self, rows):
        return Text(self.rows[rows], self.pooled[rows], self.shared[rows])


class Transformer(nn.Module):
    """Infinity's text-conditioned next-scale predictor. `bits` is the number of bits per token."""

    def __init__(self, dim, depth, heads, bits, text_dim=TEXT_DIM, dtype=torch.float32, wide=False):
        super().__init__()
        self.dim, self.heads, self.bits = dim, heads, bits
        self.pool_heads = text_dim // (128 if dim <= 4096 else 64)
        self.uncond = nn.Parameter(torch.randn(TEXT_MAX, text_dim) / text_dim ** 0.5)
        self.text_scale = nn.Parameter(torch.ones(text_dim))
        self.pool_q = nn.Parameter(torch.randn(self.pool_heads, dim // self.pool_heads) / (3 * dim) ** 0.5)
        self.pool_kv, self.pool_proj = nn.Linear(text_dim, 2 * dim), nn.Linear(dim, dim)
        self.text_fc1, self.text_fc2 = nn.Linear(text_dim, dim), nn.Linear(dim, dim)
        self.first = nn.Parameter(torch.randn(dim) / dim ** 0.5)
        self.level = nn.Parameter(torch.randn(15, dim) / dim ** 0.5)
        self.word, self.shared = nn.Linear(bits, dim), nn.Linear(dim, 6 * dim)
        self.head_mod, self.head = nn.Linear(dim, 2 * dim), nn.Linear(dim, 2 * bits)
        self.to(torch.float32 if wide else dtype)
        self.blocks = nn.ModuleList(Block(dim, heads).to(dtype) for _ in range(depth))
        for block in self.blocks:
            block.wide = wide

    def encode_text(self, rows, mask=None, once=False):
        """Prompt features [groups, tokens, text width], conditional groups first."""
        x = rows.float()
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.text_scale
        x = x.to(self.text_fc1.weight.dtype)
        k, v = self.pool_kv(x).unflatten(-1, (2, self.pool_heads, -1)).permute(2, 0, 3, 1, 4)
        q = self.pool_q[None, :, None].expand(x.shape[0], -1, -1, -1).to(k.dtype)
        pooled = self.pool_proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).flatten(1))
        x = self.text_fc2(F.gelu(self.text_fc1(x), approximate="tanh"))
        with torch.autocast(x.device.type, enabled=False):
            shared = self.shared(F.silu(pooled.to(self.shared.weight.dtype))).unflatten(-1, (6, -1))
        return Text(x, pooled, shared, mask, [b.text_kv(x) for b in self.blocks] if once else None)

    def first_input(self, text):
        return text.pooled[:, None] + self.first + self.level[0]

    def next_input(self, tokens, scale):
        x = self.word(tokens.to(self.word.weight.dtype))
        return x.add_(self.level[scale])  # in place: keeps autocast's bfloat16, as the original does

    def logits(self, x, text, rope, cache, rows):
        """Runs one scale; returns float32 logits [groups, tokens, 2 * bits]."""
        for i, block in enumerate(self.blocks):
            q, k, v = block.project(x, text.shared, rope, rows)
            k, v = cache.extend(i, k, v)
            seen = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, scale=1.0)
            x = block.finish(x, seen, text.shared, text.kv[i] if text.kv else block.text_kv(text.rows), text.mask)
        cache.advance(rope[0].shape[0])
        with torch.autocast(x.device.type, enabled=False):
            dtype = self.head.weight.dtype
            scale, shift = self.head_mod(F.silu(text.pooled.to(dtype)))[:, None].chunk(2, -1)
            return self.head(modulate(x.to(dtype), scale, shift)).float()

    def rope(self, sides):
        """Cosines and sines [tokens, head width / 2] per scale: half the pairs turn with the row, half with
        the column, positions being stretched to the 64 x 64 grid of the largest schedule."""
        pairs = self.dim // self.heads // 4
        freq = 10000.0 ** (-torch.arange(pairs) / pairs)
        tables = []
        for side in sides:
            at = (torch.arange(side) * (SIDES[-1] / side)).round()[:, None] * freq
            angle = torch.cat((at[:, None].expand(-1, side, -1), at[None].expand(side, -1, -1)), -1).flatten(0, 1)
            tables.append((angle.cos().to(self.first.device), angle.sin().to(self.first.device)))
        return tables

    def text_flops(self, groups, tokens, once):
        c, t = self.dim, self.uncond.shape[1]
        kv = 4 * tokens * c * c * len(self.blocks) if once else 0
        return groups * (2 * tokens * (3 * t * c + c * c) + 4 * tokens * c + 14 * c * c + kv)

    def scale_flops(self, rows, tokens, seen, groups, text_tokens, once):
        """`groups` and `text_tokens` are the text rows whose keys and values are projected (unless `once`)."""
        c, n = self.dim, rows * tokens
        block = n * (12 * c * c + 4 * c * self.blocks[0].hidden + 4 * c * (seen + text_tokens))
        block += 0 if once else 4 * groups * text_tokens * c * c
        return len(self.blocks) * block + n * (4 * c * self.bits) + 4 * groups * c * c


# ---------------------------------------------------------------------------------- pictures


class ResBlock(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, cin, 1e-6), nn.Conv2d(cin, cout, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(32, cout, 1e-6), nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x):
        return self.skip(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Level(nn.Module):
    def __init__(self, cin, cout, grow):
        super().__init__()
        self.block = nn.Sequential(ResBlock(cin, cout), ResBlock(cout, cout), ResBlock(cout, cout))
        self.upsample = nn.Conv2d(cout, cout, 3, padding=1) if grow else None

    def forward(self, x):
        x = self.block(x)
        return self.upsample(F.interpolate(x, scale_factor=2, mode="nearest")) if self.upsample else x


class Decoder(nn.Module):
    """VAE decoder: latent [B, d, h, w] to picture [B, 3, h * f, w * f] with f = 2 ** (levels - 1)."""

    def __init__(self, latent_dim, base, mult):
        super().__init__()
        c = [base * m for m in mult]
        self.conv_in = nn.Conv2d(latent_dim, c[-1], 3, padding=1)
        self.mid = nn.Sequential(ResBlock(c[-1], c[-1]), ResBlock(c[-1], c[-1]))
        self.up = nn.ModuleList(Level((c + c[-1:])[i + 1], c[i], i > 0) for i in range(len(c)))  # fine to coarse
        self.norm_out, self.conv_out = nn.GroupNorm(32, c[0], 1e-6), nn.Conv2d(c[0], 3, 3, padding=1)

    def forward(self, z):
        x = self.mid(self.conv_in(z.to(self.conv_in.weight.dtype)))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))

    def flops(self, pictures, side):
        """For a latent `side` cells wide; each level works at twice the width of the one before."""
        def cost(module, width):
            return sum(2 * width * width * m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d))
        top = side << len(self.up) - 1
        total = cost(self.conv_in, side) + cost(self.mid, side) + cost(self.conv_out, top)
        for i, level in enumerate(self.up):
            total += cost(level.block, top >> i) + (cost(level.upsample, 2 * (top >> i)) if level.upsample else 0)
        return pictures * total


def paint(decoder, latent, chunk):
    """RGB bytes [B, height, width, 3]; truncated, not rounded, as the original does."""
    def to_bytes(x):
        return x.clamp(-1, 1).add(1).div(2).permute(0, 2, 3, 1).mul(255).to(torch.uint8)
    return torch.cat([to_bytes(decoder(part)) for part in latent.split(chunk)])


class Latent:
    """Running sum of the codes of all scales on the final VAE grid, float32. `patch` is 2 when a token
    covers 2 x 2 VAE cells. `literal` repeats the original's operations: 5-D trilinear resizing and an
    explicit normalisation of the codes."""

    def __init__(self, sides, patch, literal):
        self.sides, self.patch, self.literal, self.sum = sides, patch, literal, 0

    def resize(self, x, side):
        if self.literal:
            return F.interpolate(x[:, :, None], size=(1, side, side), mode="trilinear").squeeze(2)
        return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)

    def add(self, scale, bits):
        """Adds one scale's bits [B, tokens, bits per token]."""
        side, end = self.sides[scale], self.sides[-1] * self.patch
        planes = bits.transpose(1, 2).unflatten(2, (side, side))
        if self.patch == 2:
            planes = F.pixel_shuffle(planes, 2)
        step = planes.shape[1] ** -0.5
        codes = planes.float() * (2 * step) - step
        if self.literal:
            codes = F.normalize(codes, dim=1)
        self.sum = self.sum + (codes if scale == len(self.sides) - 1 else self.resize(codes, end))

    def tokens(self, scale):
        """Input features of a scale [B, tokens, bits per token]."""
        x = self.resize(self.sum, self.sides[scale] * self.patch)
        if self.patch == 2:
            x = F.pixel_unshuffle(x, 2)
        return x.flatten(2).transpose(1, 2)


# ---------------------------------------------------------------------------------- choosing


def draw_literal(logits, rng):
    """Top-k (k = 2, so nothing goes), top-p and multinomial over [B * tokens * bits, 2], as released."""
    b, n, _ = logits.shape
    x = logits.reshape(b, -1, 2)
    x = x.masked_fill(x < x.topk(2, dim=-1)[0].amin(-1, keepdim=True), -torch.inf)
    rising, order = x.sort(dim=-1)
    drop = rising.softmax(-1).cumsum(-1) <= 1 - TOP_P
    drop[..., -1] = False
    x = x.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
    return torch.multinomial(x.softmax(-1).view(-1, 2), 1, replacement=True, generator=rng).view(b, n, -1)


def draw_fast(logits, rng):
    """The same distribution: a Bernoulli draw per bit whose rare side is cut at 1 - TOP_P."""
    zero, one = logits.unflatten(-1, (-1, 2)).unbind(-1)
    p = torch.sigmoid(one - zero)
    p = p.masked_fill(p <= 1 - TOP_P, 0.0).masked_fill(p >= TOP_P, 1.0)
    return torch.rand(p.shape, generator=rng, device=p.device) < p


def reward(pictures):
    """Stand-in reward: mean red minus mean blue."""
    mean = pictures.float().mean((1, 2)) / 255
    return (mean[:, 0] - mean[:, 2]).cpu().numpy().astype(np.float64)


def features(pictures):
    """Stand-in features: colours of the 224-pixel picture averaged in 14 x 14 pixel patches."""
    x = pictures.permute(0, 3, 1, 2).float() / 255
    if x.shape[-1] != 224:
        x = F.interpolate(x, size=(224, 224), mode="bilinear", antialias=True)
    return F.avg_pool2d(x, 14).flatten(1).cpu().numpy().astype(np.float64)


def cluster(points, count, rng):
    """K-means with a k-means++ start; the rows nearest to the centres, one per cluster."""
    def distances(centres):
        return ((points[:, None] - np.stack(centres)[None]) ** 2).sum(-1)
    centres = [points[rng.integers(len(points))]]
    while len(centres) < count:
        far = distances(centres).min(1)
        odds = far / far.sum() if far.sum() > 0 else None
        centres.append(points[rng.choice(len(points), p=odds)])
    for _ in range(100):
        label = distances(centres).argmin(1)
        moved = [points[label == c].mean(0) if (label == c).any() else centres[c] for c in range(count)]
        if np.allclose(moved, centres):
            break
        centres = moved
    d, kept = distances(centres), []
    for c in range(count):  # prefer the cluster's own rows; an empty cluster takes any unused row
        order = np.lexsort((d[:, c], d.argmin(1) != c))
        kept.append(int(next(row for row in order if row not in kept)))
    return kept


class Plan:
    """How many candidates leave each scale and what decides it. Selections that would not shrink the
    batch are dropped, which is what lets one plan serve every N."""

    def __init__(self, widths, clusters=(), resamples=()):
        self.leave, self.enter = list(widths), [widths[0], *widths[:-1]]
        shrinks = [s for s in range(len(widths)) if self.leave[s] < self.enter[s]]
        self.how = {s: "cluster" for s in shrinks if s in clusters}
        self.how.update({s: "resample" for s in shrinks if s in resamples})
        if set(self.how) != set(shrinks) or len(widths) - 1 in self.how:
            raise ValueError("every drop in width needs a selection, before the last scale")

    def choose(self, scale, pictures, rng):
        count = self.leave[scale]
        if self.how[scale] == "cluster":
            return cluster(features(pictures), count, rng)
        score = reward(pictures)
        odds = np.exp(LAMBDA * (score - score.max()))
        return [int(i) for i in rng.choice(len(score), size=count, p=odds / odds.sum())]


class Tape:
    """Recorded bits and kept rows to be replayed, with the logits met on the way (for --check)."""

    def __init__(self, bits, kept):
        self.bits, self.kept, self.logits = bits, kept, []

    def draw(self, logits, _rng):
        self.logits.append(logits.clone())
        return self.bits[len(self.logits) - 1]


# ---------------------------------------------------------------------------------- loops


class Run:
    """Everything a loop needs; `prompt` is [text tokens, text width]."""

    def __init__(self, net, decoder, sides, patch, prompt, chunk=8, seed=0, tape=None):
        self.net, self.decoder, self.sides, self.patch, self.prompt = net, decoder, sides, patch, prompt
        self.device, self.rope, self.chunk, self.seed, self.tape = prompt.device, net.rope(sides), chunk, seed, tape

    def dice(self):
        return torch.Generator(self.device).manual_seed(self.seed), np.random.default_rng(self.seed)


def official_loop(run, plan, meter):
    """TTS-VAR with the operations and the order of the released program."""
    net, last, (rng, dice) = run.net, len(run.sides) - 1, run.dice()
    width, words, seen, gallery = plan.enter[0], len(run.prompt), 0, {}
    cond = torch.cat([run.prompt] * width)
    uncond = torch.cat([net.uncond[:words]] * width)
    text = net.encode_text(torch.cat((cond, uncond)).unflatten(0, (-1, words)))
    x = net.first_input(text)
    cache, latent = GrowingCache(len(net.blocks)), Latent(run.sides, run.patch, literal=True)
    meter.mark("text", net.text_flops(2 * width, words, False))
    for scale, side in enumerate(run.sides):
        seen += side * side
        logits = net.logits(x, text, run.rope[scale], cache, 2 * width).mul(1 / TAU)
        logits = CFG * logits[:width] + (1 - CFG) * logits[width:]
        flops = net.scale_flops(2 * width, side * side, seen, 2 * width, words, False)
        meter.mark(f"scale{scale}", flops + (0 if scale == 0 else 2 * width * side * side * net.dim * net.bits))
        latent.add(scale, (run.tape.draw if run.tape else draw_literal)(logits, rng))
        tokens = latent.tokens(scale + 1) if scale < last else None
        meter.mark("sample")
        pictures = paint(run.decoder, latent.sum, run.chunk).flip(3)  # BGR, like the files it writes
        meter.mark("decode", run.decoder.flops(width, run.sides[-1] * run.patch))
        if scale in plan.how:
            kept = run.tape.kept[scale] if run.tape else plan.choose(scale, pictures.flip(3), dice)
            meter.mark("choose")
            kept = torch.tensor(kept, device=run.device)
            latent.sum, tokens = latent.sum[kept], tokens[kept]
            cache.keep(torch.cat((kept, kept + width)))
            if plan.leave[scale] != width:  # one prompt: rows 0 and `width` stand for all
                text = text.pick(torch.tensor([0] * plan.leave[scale] + [width] * plan.leave[scale], device=run.device))
            width = plan.leave[scale]
            meter.mark("gather")
        elif scale == last:
            best = int(reward(pictures.flip(3)).argmax())
        gallery[scale] = pictures
        if scale < last:
            x = net.next_input(tokens, scale + 1).repeat(2, 1, 1)
    meter.mark("choose")
    again = paint(run.decoder, latent.sum, width).flip(3)
    meter.mark("decode", run.decoder.flops(width, run.sides[-1] * run.patch))
    return again.flip(3), best


def lean_loop(run, plan, meter):
    """The same search without repeated work. A plan without selections is plain sampling."""
    net, last, (rng, dice) = run.net, len(run.sides) - 1, run.dice()
    width, words, seen = plan.enter[0], len(run.prompt), 0
    ends = [s for s in range(len(run.sides)) if s in plan.how or s == last]

    def room(scale):
        """Tokens the cache must hold from `scale` up to and including the next selection."""
        return sum(side * side for side in run.sides[:min(e for e in ends if e >= scale) + 1])

    text = net.encode_text(torch.stack((run.prompt, net.uncond[:words].to(run.prompt.dtype))), once=True)
    x = net.first_input(text)
    cache = FixedCache(len(net.blocks), (2 * width, net.heads, room(0), net.dim // net.heads),
                       net.blocks[0].qkv.weight.dtype, run.device)
    latent = Latent(run.sides, run.patch, literal=False)
    meter.mark("text", net.text_flops(2, words, True))
    for scale, side in enumerate(run.sides):
        seen += side * side
        rows = 2 * width if scale else 2
        logits = net.logits(x, text, run.rope[scale], cache, rows)  # [2, candidates * tokens, 2 * bits]
        logits = (CFG * logits[0] + (1 - CFG) * logits[1]).div_(TAU).unflatten(0, (-1, side * side))
        logits = logits.expand(width, -1, -1)
        flops = net.scale_flops(rows, side * side, seen, 2, words, True)
        meter.mark(f"scale{scale}", flops + (0 if scale == 0 else width * side * side * net.dim * net.bits * 2))
        latent.add(scale, (run.tape.draw if run.tape else draw_fast)(logits, rng))
        meter.mark("sample")
        if scale in plan.how:
            pictures = paint(run.decoder, latent.sum, run.chunk)
            meter.mark("decode", run.decoder.flops(width, run.sides[-1] * run.patch))
            kept = run.tape.kept[scale] if run.tape else plan.choose(scale, pictures, dice)
            meter.mark("choose")
            kept = torch.tensor(kept, device=run.device)
            latent.sum = latent.sum[kept]
            cache.keep(torch.cat((kept, kept + width)), room(scale + 1))
            width = plan.leave[scale]
            meter.mark("gather")
        if scale < last:
            x = net.next_input(latent.tokens(scale + 1), scale + 1).flatten(0, 1).expand(2, -1, -1)
    pictures = paint(run.decoder, latent.sum, run.chunk)
    meter.mark("decode", run.decoder.flops(width, run.sides[-1] * run.patch))
    best = int(reward(pictures).argmax()) if width > 1 else 0
    meter.mark("choose")
    return pictures, best


# ---------------------------------------------------------------------------------- checking


def load_safetensors(path):
    kinds = {"F32": np.float32, "U8": np.uint8, "I32": np.int32, "I64": np.int64}
    with open(path, "rb") as file:
        raw = file.read()
    body = 8 + int.from_bytes(raw[:8], "little")
    out = {}
    for name, entry in json.loads(raw[8:body]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            array = np.frombuffer(raw[body + begin:body + end], kinds[entry["dtype"]]).reshape(entry["shape"])
            out[name] = torch.from_numpy(array.copy())
    return out


RENAME = [("text_proj_for_sos.ca.proj", "pool_proj"), ("text_proj_for_sos.ca.mat_", "pool_"), ("cfg_uncond", "uncond"),
          ("text_proj_for_sos.ca.", "pool_kv."), ("text_norm.weight", "text_scale"), ("text_proj_for_ca.0", "text_fc1"),
          ("text_proj_for_ca.2", "text_fc2"), ("pos_start", "first"), ("lvl_embed.weight", "level"), ("word_embed", "word"),
          ("shared_ada_lin.1", "shared"), ("head_nm.ada_lin.1", "head_mod"), ("ada_gss", "mod"), ("sa.mat_qkv", "qkv"),
          ("sa.scale_mul_1H11", "log_gain"), ("sa.proj", "proj"), ("sa.", "qkv."), ("ca.mat_", "ca_"),
          ("ca.proj", "ca_proj"), ("ca.", "ca_kv."), ("ffn.", "")]


def load_golden(folder):
    """Builds the small model of a golden folder from a checkpoint with the original names."""
    with open(f"{folder}/config.json") as file:
        conf = json.load(file)
    t, v = conf["transformer"], conf["vae"]
    patch, per = 2 if t["apply_spatial_patchify"] else 1, t["depth"] // t["block_chunks"]
    net = Transformer(t["embed_dim"], t["depth"], t["num_heads"], v["codebook_dim"] * patch ** 2, t["text_channels"])
    state, biases = {}, {}
    for name, value in torch.load(f"{folder}/{conf['files']['model']}", weights_only=True).items():
        part = name.split(".")
        if part[0] == "block_chunks":
            name = ".".join(["blocks", str(int(part[1]) * per + int(part[3])), *part[4:]])
        for theirs, ours in RENAME:
            name = name.replace(theirs, ours) if "ca_norm" not in name else name
        if name.endswith(("q_bias", "k_bias", "v_bias")):  # checkpoint order is q, v, k
            biases.setdefault(name.rsplit(".", 1)[0] + ".bias", {})[name[-6]] = value
        else:
            state[name] = value.view(net.get_parameter(name).shape)
    state.update({name: torch.cat([of[x] for x in "qkv" if x in of]) for name, of in biases.items()})
    net.load_state_dict(state)
    decoder = Decoder(v["codebook_dim"], v["base_ch"], v["ch_mult"])
    state = {}
    for name, value in torch.load(f"{folder}/{conf['files']['vae']}", weights_only=True)["vae"].items():
        if name.startswith("decoder."):
            for theirs, ours in (("nin_shortcut", "skip"), ("block_1", "0"), ("block_2", "1"), ("upsample.conv", "upsample")):
                name = name.replace(theirs, ours)
            state[".".join(part for i, part in enumerate(name.split(".")) if i not in (0, name.count(".") - 1))] = value
    decoder.load_state_dict(state)
    return conf, net, decoder, patch


def check(root):
    """Compares with recordings of the original program; returns whether all limits are met."""
    report = {}

    def note(name, got, want, limit):
        worst = float((got - want).abs().max())
        report[name] = {"max_abs_diff": worst, "limit": limit, "ok": worst <= limit}

    for folder in ("infinity-tiny", "infinity-8b-like-tiny"):  # two prompts of unequal length, forced bits
        conf, net, decoder, patch = load_golden(f"{root}/{folder}")
        run = conf["runs"]["run_a"]
        want, told = load_safetensors(f"{root}/{folder}/run_a.safetensors"), load_safetensors(f"{root}/{folder}/text.safetensors")
        sides, lens = [h for h, _ in run["scales_hw"]], told["lens"].tolist()
        rows = list(told["kv_compact"].split(lens)) + [net.uncond[:n] for n in lens]
        b, mask = len(lens), torch.arange(max(lens))[None, None, None] < torch.tensor(lens * 2).view(-1, 1, 1, 1)
        for lean in (False, True):
            text = net.encode_text(nn.utils.rnn.pad_sequence(rows, batch_first=True), mask, once=lean)
            latent, x, rope = Latent(sides, patch, literal=not lean), net.first_input(text), net.rope(sides)
            shape = (2 * b, net.heads, sum(s * s for s in sides), net.dim // net.heads)
            cache = FixedCache(len(net.blocks), shape, torch.float32, "cpu") if lean else GrowingCache(len(net.blocks))
            got, recorded = [], []
            for scale in range(len(sides)):
                if scale:
                    x = net.next_input(latent.tokens(scale), scale).repeat(2, 1, 1)
                y = net.logits(x, text, rope[scale], cache, 2 * b) / run["tau"]
                got.append((run["cfg"] * y[:b] + (1 - run["cfg"]) * y[b:]).flatten())
                recorded.append(want[f"s{scale:02d}.logits"].flatten())
                latent.add(scale, want[f"s{scale:02d}.bits"])
            kind = f"{folder} run_a {'lean' if lean else 'official'} parts"
            note(f"{kind}: logits", torch.cat(got), torch.cat(recorded), 5e-4)
            final = decoder(latent.sum)
            stride = 3 if final.shape[-1] != want["final.decoder_out"].shape[-1] else 1
            note(f"{kind}: decoder", final[:1, :, ::stride, ::stride], want["final.decoder_out"], 2e-3)

    conf, net, decoder, patch = load_golden(f"{root}/infinity-tiny")
    want = load_safetensors(f"{root}/tts-loop-tiny/loop.safetensors")
    with open(f"{root}/tts-loop-tiny/loop.json") as file:
        events = json.load(file)
    plan = Plan(events["bs_sis"], events["extract_sis"], events["resample_sis"])
    kept = {e["scale_index"]: e["kept_row_of_incoming_batch"] for e in events["selection_events"]}
    sides = [h for h, _ in events["scales_hw"]]
    for name, loop in (("official", official_loop), ("lean", lean_loop)):  # one whole search, forced bits and rows
        tape = Tape([want[f"s{s:02d}.bits"] for s in range(len(sides))], kept)
        meter = Meter(torch.device("cpu"))
        meter.start()
        pictures, best = loop(Run(net, decoder, sides, patch, want["text"], tape=tape), plan, meter)
        flat = [torch.cat([x.flatten() for x in xs]) for xs in
                (tape.logits, [want[f"s{s:02d}.logits"] for s in range(len(sides))])]
        note(f"tts-loop-tiny {name} loop: logits", *flat, 5e-4)
        off = (pictures.flip(3).int() - want["final.images_u8_bgr"].int()).abs()
        report[f"tts-loop-tiny {name} loop: pictures"] = {
            "max_levels": int(off.max()), "share": float((off > 0).float().mean()), "best": best,
            "ok": int(off.max()) <= 1 and float((off > 0).float().mean()) <= 0.02 and best == events["chosen_final_index"]}
    ok = all(entry["ok"] for entry in report.values())
    print(json.dumps({"check": report, "ok": ok}, indent=1))
    return ok


# ---------------------------------------------------------------------------------- operations


def time_ops(args):
    """Seconds of single operations at the shapes of the last scale with guidance, the best of some runs each."""
    dim, _, heads, patchify = SIZES[args.size]
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    device, sides = torch.device(args.device), SIDES[:SCALES[args.pn]]
    tokens, seen = sides[-1] ** 2, sum(side * side for side in sides)
    hidden, pixels = round(4 * dim / 256) * 256, min(16 * sides[-1], 256)

    def made(*shape):
        return torch.randn(*shape, device=device, dtype=dtype)

    x, (scale, shift) = made(2, tokens, dim), made(2, dim)
    fc1, qkv = nn.Linear(dim, hidden).to(device, dtype), nn.Linear(dim, 3 * dim).to(device, dtype)
    q, k, v = (made(2, heads, n, dim // heads) for n in (tokens, seen, seen))
    wide, picture = made(2, tokens, hidden), made(1, 128, pixels, pixels)
    conv = nn.Conv2d(128, 128, 3, padding=1).to(device, dtype)
    norm = nn.GroupNorm(32, 128, 1e-6).to(device, dtype)
    coarse, up = made(1, 256, pixels // 2, pixels // 2), nn.Conv2d(256, 256, 3, padding=1).to(device, dtype)
    if args.channels_last:
        for thing in (conv, norm, up):
            thing.to(memory_format=torch.channels_last)
        picture, coarse = (t.to(memory_format=torch.channels_last) for t in (picture, coarse))
    ops = {
        "linear": lambda: fc1(x),
        "qkv": lambda: qkv(x),
        "attention": lambda: F.scaled_dot_product_attention(q, k, v, scale=1.0),
        "modulate": lambda: modulate(x, scale, shift),
        "gelu": lambda: F.gelu(wide, approximate="tanh"),
        "conv": lambda: conv(picture),
        "upsample": lambda: up(F.interpolate(coarse, scale_factor=2, mode="nearest")),
        "group_norm_silu": lambda: F.silu(norm(picture)),
    }

    def seconds(op):
        best, spent, op_runs = math.inf, 0.0, 0
        op()
        while op_runs < 3 or spent < 0.5:
            if device.type == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
            op()
            if device.type == "cuda":
                torch.cuda.synchronize()
            took = time.perf_counter() - began
            best, spent, op_runs = min(best, took), spent + took, op_runs + 1
        return best

    return {name: seconds(op) for name, op in ops.items()}


# ---------------------------------------------------------------------------------- program


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--loop", choices=("single", "official", "lean", "bon"), default="single", help="what to time (default single)")
    p.add_argument("--size", choices=SIZES, default="infinity-layer12", help="model with random weights (default infinity-layer12)")
    p.add_argument("--pn", choices=SCALES, default="0.06M", help="square picture of 256, 512, 768 or 1024 pixels (default 0.06M)")
    p.add_argument("--n", type=int, default=1, help="TTS-VAR's N, which multiplies the widths of a search; samples of bon (default 1)")
    p.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="see 'Precision' above (default f32)")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to run (default cpu)")
    p.add_argument("--threads", type=int, default=0, help="CPU threads (default: PyTorch's choice)")
    p.add_argument("--repeat", type=int, default=3, help="timed runs after one warm-up; medians are reported (default 3)")
    p.add_argument("--seed", type=int, default=0, help="seed of weights, bits and selections; equal in every repeat (default 0)")
    p.add_argument("--decode-chunk", type=int, default=8, help="pictures per decoder call (default 8, as released)")
    p.add_argument("--compile", action="store_true", help="torch.compile for the block halves and the decoder")
    p.add_argument("--channels-last", action="store_true", help="channels-last memory layout in the decoder")
    p.add_argument("--ops", action="store_true", help="time single operations at the shapes of the last scale, then stop")
    p.add_argument("--check", action="store_true", help="compare with recordings of the original program, then stop")
    p.add_argument("--golden", default=GOLDEN, help=f"folder of the recordings (default {GOLDEN})")
    return p.parse_args()


def build(args, device):
    dim, depth, heads, patchify = SIZES[args.size]
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    mixed = args.dtype == "bf16" and args.loop == "official"  # the released program's autocast
    latent_dim, mult = (14, [1, 2, 4, 4]) if patchify else (32, [1, 2, 4, 4, 4])
    torch.manual_seed(args.seed)
    with torch.device(device):
        net = Transformer(dim, depth, heads, latent_dim * (4 if patchify else 1), dtype=dtype, wide=mixed)
        decoder = Decoder(latent_dim, 128, mult).to(torch.float32 if mixed else dtype)
        prompt = torch.randn(TEXT_LEN, TEXT_DIM)
    if args.channels_last:
        decoder.to(memory_format=torch.channels_last)
    if args.compile:
        torch._dynamo.config.recompile_limit = 64
        Block.project = torch.compile(Block.project, dynamic=True)
        Block.finish = torch.compile(Block.finish, dynamic=True)
        decoder.compile(dynamic=False)
    run = Run(net, decoder, SIDES[:SCALES[args.pn]], 2 if patchify else 1, prompt, args.decode_chunk, args.seed)
    return run, torch.autocast(device.type, torch.bfloat16, enabled=mixed)


def make_plan(args):
    scales = SCALES[args.pn]
    if args.loop in ("single", "bon"):
        return Plan([1 if args.loop == "single" else args.n] * scales)
    widths, clusters, resamples = PLANS[scales]
    return Plan([w * args.n for w in widths], clusters, resamples)


def summarise(args, run, plan, times, flops, device):
    """The JSON line: medians per phase, memory, rates."""
    scales = len(run.sides)
    phases = [{"text": t["text"], "transformer": sum(t[f"scale{s}"] for s in range(scales)), "sample": t["sample"],
               "decode": t["decode"], "select": t.get("choose", 0.0) + t.get("gather", 0.0),
               "select_gather": t.get("gather", 0.0), "total": t["total"]} for t in times]
    seconds = {name: float(np.median([p[name] for p in phases])) for name in phases[0]}
    work = {"text": flops["text"], "transformer": sum(flops[f"scale{s}"] for s in range(scales)), "decode": flops["decode"]}
    work["total"] = sum(work.values())
    if device.type == "cuda":
        memory = {"cuda_max_allocated": torch.cuda.max_memory_allocated() / 2 ** 20,
                  "cuda_max_reserved": torch.cuda.max_memory_reserved() / 2 ** 20}
    else:
        memory = {"peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    made = plan.enter[0] if args.loop == "bon" else 1
    return {
        "implementation": "pytorch", "torch": torch.__version__, "loop": args.loop, "size": args.size, "pn": args.pn,
        "pixels": 16 * run.sides[-1], "dtype": args.dtype, "device": device.type,
        "device_name": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(), "compile": args.compile, "channels_last": args.channels_last,
        "seed": args.seed, "repeat": args.repeat, "widths": plan.enter, "select_after": plan.how,
        "parameters": {"transformer": sum(p.numel() for p in run.net.parameters()),
                       "decoder": sum(p.numel() for p in run.decoder.parameters())},
        "seconds": {**{k: round(v, 6) for k, v in seconds.items()},
                    "transformer_per_scale": [round(float(np.median([t[f"scale{s}"] for t in times])), 6) for s in range(scales)]},
        "total_range": [round(min(p["total"] for p in phases), 6), round(max(p["total"] for p in phases), 6)],
        "images_per_s": round(1 / seconds["total"], 6), "candidates_per_s": round(made / seconds["total"], 6),
        "gflop": {k: round(v / 1e9, 3) for k, v in work.items()},
        "tflop_per_s": {k: round(work[k] / seconds[k] / 1e12, 4) for k in ("transformer", "decode", "total")},
        "memory_mib": {k: round(v, 1) for k, v in memory.items()}}


@torch.inference_mode()
def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.check:
        raise SystemExit(0 if check(args.golden) else 1)
    if args.ops:
        print(json.dumps({"implementation": "pytorch", "ops": time_ops(args)}))
        return
    device = torch.device(args.device)
    torch.backends.cudnn.allow_tf32 = False  # f32 means f32 on both sides of a comparison
    torch.backends.cudnn.benchmark = args.loop != "official"
    plan = make_plan(args)
    run, precision = build(args, device)
    loop, times = official_loop if args.loop == "official" else lean_loop, []
    meter = Meter(device)
    for turn in range(args.repeat + 1):
        if turn == 1 and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with precision:
            meter.start()
            loop(run, plan, meter)
            spent = meter.finish()
        if turn:
            times.append(spent)
    print(json.dumps(summarise(args, run, plan, times, meter.flops, device)))


if __name__ == "__main__":
    main()
