"""The generator: Infinity's bitwise next-scale transformer with its key names, in the small size of the demo."""
import math

import torch
import torch.nn.functional as F
from torch import nn

from bsq_vae import BITS, SCALES, resize, shrink
from t5 import PAD, RmsNorm, attend

DEMO = dict(dim=128, depth=6, heads=4, chunks=2, text_dim=128, bits=BITS)


# ------------------------------------------------------------------------------------------ positions


def rope_tables(head_dim, grids, final):
    """Cosines and sines [tokens, head_dim / 2]; every grid (h, w) is stretched to the `final` one.

    The first half of the pairs turns with the row, the second with the column.
    """
    frequency = 1.0 / 10000.0 ** (torch.arange(0, head_dim // 2, 2).float() / (head_dim // 2))
    angles = []
    for h, w in grids:
        rows = (torch.arange(h) * (final[0] / h)).round()[:, None] * frequency           # (h, head_dim / 4)
        columns = (torch.arange(w) * (final[1] / w)).round()[:, None] * frequency
        angles.append(torch.cat([rows[:, None].expand(-1, w, -1), columns[None].expand(h, -1, -1)], -1).flatten(0, 1))
    angles = torch.cat(angles)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Turns the interleaved pairs (2i, 2i + 1)."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([cos * a - sin * b, sin * a + cos * b], -1).flatten(-2)


# ------------------------------------------------------------------------------------------ layers


class SelfAttention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads = heads
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4.0)))
        self.mat_qkv = nn.Linear(c, 3 * c, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(c)), nn.Parameter(torch.zeros(c))
        self.register_buffer("zero_k_bias", torch.zeros(c))
        self.proj = nn.Linear(c, c)

    def forward(self, x, mask, rope, cache):
        bias = torch.cat([self.q_bias, self.zero_k_bias, self.v_bias])
        qkv = F.linear(x, self.mat_qkv.weight, bias)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)      # (B, heads, n, head_dim)
        q = F.normalize(q.float(), dim=-1) * self.scale_mul_1H11.clamp_max(math.log(100)).exp()
        k = F.normalize(k.float(), dim=-1)
        q, k = rotate(q, *rope).to(v.dtype), rotate(k, *rope).to(v.dtype)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        return self.proj(attend(q, k, v, mask, 1.0).transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Text attention; with `pool` the queries are learned, one per head, and the heads make one vector."""

    def __init__(self, c, text_dim, heads, pool=False):
        super().__init__()
        self.heads, self.pool = heads, pool
        self.mat_q = nn.Parameter(torch.randn(1, heads, c // heads) * (1 / c / 3) ** 0.5) if pool else nn.Linear(c, c)
        self.mat_kv = nn.Linear(text_dim, 2 * c, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(c))
        self.register_buffer("zero_k_bias", torch.zeros(c))
        self.proj = nn.Linear(c, c)

    def forward(self, x, text, mask):
        kv = F.linear(text, self.mat_kv.weight, torch.cat([self.zero_k_bias, self.v_bias]))
        k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.pool:
            q = self.mat_q[:, :, None].expand(len(text), -1, -1, -1).to(k.dtype)
        else:
            q = self.mat_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.proj(attend(q, k, v, mask.to(q.dtype), q.shape[-1] ** -0.5).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        hidden = round(4 * c / 256) * 256
        self.fc1, self.fc2 = nn.Linear(c, hidden), nn.Linear(hidden, c)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def plain_norm(x):
    return F.layer_norm(x.float(), x.shape[-1:], eps=1e-6)


class Block(nn.Module):
    def __init__(self, c, heads, depth):
        super().__init__()
        self.sa, self.ca, self.ffn = SelfAttention(c, heads), CrossAttention(c, c, heads), FeedForward(c)
        self.ca_norm = nn.LayerNorm(c, eps=1e-6)
        self.ada_gss = nn.Parameter(torch.randn(1, 1, 6, c) / c ** 0.5)
        with torch.no_grad():
            for layer in (self.sa.proj, self.ca.proj, self.ffn.fc2):
                layer.weight.mul_((2 * depth) ** -0.5)
            self.ada_gss[:, :, 2:].mul_(0.5)
            self.ada_gss[:, :, :2].add_(0.3)

    def forward(self, x, modulation, text, text_mask, mask, rope, cache=None):
        gate1, gate2, scale1, scale2, shift1, shift2 = (self.ada_gss + modulation).unbind(2)
        x = x + self.sa(plain_norm(x) * (scale1 + 1) + shift1, mask, rope, cache) * gate1
        x = x + self.ca(self.ca_norm(x), text, text_mask)
        return x + self.ffn(plain_norm(x) * (scale2 + 1) + shift2) * gate2


class Chunk(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.module = nn.ModuleList(blocks)


class TextPool(nn.Module):
    def __init__(self, c, text_dim):
        super().__init__()
        self.ca = CrossAttention(c, text_dim, text_dim // 128, pool=True)


class HeadNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(c, 2 * c))

    def forward(self, x, pooled):
        scale, shift = self.ada_lin(pooled)[:, None].chunk(2, -1)
        return plain_norm(x) * (scale + 1) + shift


# ------------------------------------------------------------------------------------------ the model


class Infinity(nn.Module):
    def __init__(self, dim, depth, heads, chunks, text_dim, bits):
        super().__init__()
        c = dim
        self.cfg_uncond = nn.Parameter(torch.randn(512, text_dim) * 1.2 / text_dim ** 0.5)
        self.pos_start = nn.Parameter(torch.randn(1, 1, c) * (1 / c / 3) ** 0.5)
        self.text_norm = RmsNorm(text_dim)
        self.text_proj_for_sos = TextPool(c, text_dim)
        self.text_proj_for_ca = nn.Sequential(nn.Linear(text_dim, c), nn.GELU(approximate="tanh"), nn.Linear(c, c))
        self.lvl_embed = nn.Embedding(15, c)
        self.word_embed = nn.Linear(bits, c)
        self.shared_ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(c, 6 * c))
        self.head_nm, self.head = HeadNorm(c), nn.Linear(c, 2 * bits)
        each = depth // chunks
        self.block_chunks = nn.ModuleList(Chunk([Block(c, heads, depth) for _ in range(each)]) for _ in range(chunks))
        self.head_dim, self.run_block = c // heads, Block.forward
        self.initialise()

    def initialise(self):
        nn.init.normal_(self.lvl_embed.weight, std=0.2)
        for layer in (self.shared_ada_lin[1], self.head_nm.ada_lin[1], self.head):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    @property
    def blocks(self):
        return [block for chunk in self.block_chunks for block in chunk.module]

    def text(self, features, lengths_mask, dropped):
        """Encoder rows [B,n,text_dim], True where there is text [B,n], True where the prompt is left out [B]
        -> pooled vector [B,C], text rows [B,n,C], additive mask [B,1,1,n], modulation [B,1,6,C]."""
        blank = self.cfg_uncond[: features.shape[1]].to(features.dtype)
        rows = self.text_norm(torch.where(dropped[:, None, None], blank, features))
        mask = torch.where(lengths_mask, 0.0, -1e9)[:, None, None]
        pooled = self.text_proj_for_sos.ca(None, rows, mask)[:, 0].float()
        modulation = self.shared_ada_lin(pooled).float().unflatten(-1, (1, 6, -1))
        return pooled, self.text_proj_for_ca(rows), mask, modulation

    def embed(self, tokens, level):
        """Scale inputs [B,n,bits] and their level numbers -> hidden states."""
        return self.word_embed(tokens).float() + self.lvl_embed(level)

    def start(self, pooled):
        return pooled[:, None] + self.pos_start + self.lvl_embed.weight[0]

    def logits(self, x, text, mask, rope, caches=None):
        pooled, rows, text_mask, modulation = text
        for i, block in enumerate(self.blocks):
            x = self.run_block(block, x, modulation, rows, text_mask, mask, rope, caches[i] if caches else None)
        return self.head(self.head_nm(x, pooled)).float()


# ------------------------------------------------------------------------------------------ training inputs


class Layout:
    """Constant tensors of the demo's scales: level of every token, rotary tables, block-causal mask."""

    def __init__(self, model):
        self.level = torch.cat([torch.full((s * s,), i) for i, s in enumerate(SCALES)])
        self.cos, self.sin = rope_tables(model.head_dim, [(s, s) for s in SCALES], (SCALES[-1],) * 2)
        self.mask = torch.where(self.level[:, None] >= self.level[None], 0.0, -1e9)[None, None]

    def first(self, n):
        """Everything for the first n tokens."""
        return self.level[1:n], self.mask[:, :, :n, :n], (self.cos[:n], self.sin[:n])


@torch.no_grad()
def teacher(h, strength, scales):
    """Bitwise self-correction: encoder output h [B,16,8,8] -> inputs [B,L-1,16] and bits to predict [B,L,16].

    Random bits of the running sum are flipped (up to `strength` of a scale's bits); later scales must repair it.
    """
    unit, total, inputs, bits = h.shape[1] ** -0.5, torch.zeros_like(h), [], []
    for i in range(scales):
        true = shrink(h - total, SCALES[i]) > 0
        bits.append(true.flatten(2).transpose(1, 2))
        flip = torch.rand(true.shape) < torch.rand(len(h), 1, 1, 1) * strength
        total = total + resize(torch.where(true ^ flip, unit, -unit), h.shape[-1])
        if i + 1 < scales:
            inputs.append(resize(total, SCALES[i + 1]).flatten(2).transpose(1, 2))
    return torch.cat(inputs, 1), torch.cat(bits, 1)


def teacher_logits(model, layout, text_encoder, ids, inputs, dropped):
    """Logits [B,L,2*bits] of all scales in one pass."""
    text = model.text(text_encoder(ids), ids != PAD, dropped)
    level, mask, rope = layout.first(inputs.shape[1] + 1)
    x = torch.cat([model.start(text[0]), model.embed(inputs, level)], 1)
    return model.logits(x, text, mask, rope)
