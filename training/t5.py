"""The text encoder: T5 v1.1 (as in flan-T5), encoder only, with Hugging Face's key names; and its word-level ids."""
import math

import torch
import torch.nn.functional as F
from torch import nn

from captions import WORDS

DEMO = dict(vocab=3 + len(WORDS), d_model=128, d_kv=32, heads=4, d_ff=256, layers=2)
PAD, END, UNKNOWN = 0, 1, 2
IDS = {word: 3 + i for i, word in enumerate(WORDS)}
TEXT_LENGTH = 15                     # the longest training caption with its end mark


def token_ids(captions, length=None):
    """Ids [n, length] padded with 0; `length` defaults to the longest caption."""
    rows = [[IDS.get(w, UNKNOWN) for w in c.lower().split()] + [END] for c in captions]
    length = length or max(map(len, rows))
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


def attend(q, k, v, mask, scale):
    """Plain attention; on a CPU its backward pass is much faster than the fused kernel's."""
    weights = q @ k.transpose(-1, -2) * scale
    if mask is not None:
        weights = weights + mask
    return weights.softmax(-1) @ v


class RmsNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Attention(nn.Module):
    def __init__(self, c, heads, kv, has_bias):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(c, heads * kv, bias=False) for _ in range(3))
        self.o = nn.Linear(heads * kv, c, bias=False)
        nn.init.normal_(self.q.weight, std=(c * kv) ** -0.5)
        nn.init.normal_(self.k.weight, std=c ** -0.5)
        nn.init.normal_(self.v.weight, std=c ** -0.5)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(32, heads)

    def position_bias(self, n):
        """[1, heads, n, n] from 32 buckets: 16 per direction, exact up to 7, then logarithmic up to 128."""
        offset = torch.arange(n)[None, :] - torch.arange(n)[:, None]
        far = 8 + (torch.log(offset.abs().float().clamp(min=1) / 8) / math.log(16) * 8).long()
        bucket = torch.where(offset.abs() < 8, offset.abs(), far.clamp(max=15)) + (offset > 0) * 16
        return self.relative_attention_bias(bucket).permute(2, 0, 1)[None]

    def forward(self, x, bias):
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return self.o(attend(q, k, v, bias.to(q.dtype), 1.0).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, c, hidden):
        super().__init__()
        self.wi_0, self.wi_1 = nn.Linear(c, hidden, bias=False), nn.Linear(c, hidden, bias=False)
        self.wo = nn.Linear(hidden, c, bias=False)

    def forward(self, x):
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class SelfLayer(nn.Module):
    def __init__(self, c, heads, kv, has_bias):
        super().__init__()
        self.SelfAttention, self.layer_norm = Attention(c, heads, kv, has_bias), RmsNorm(c)

    def forward(self, x, bias):
        return x + self.SelfAttention(self.layer_norm(x), bias)


class FeedForwardLayer(nn.Module):
    def __init__(self, c, hidden):
        super().__init__()
        self.DenseReluDense, self.layer_norm = FeedForward(c, hidden), RmsNorm(c)

    def forward(self, x):
        return x + self.DenseReluDense(self.layer_norm(x))


class Block(nn.Module):
    def __init__(self, c, heads, kv, hidden, has_bias):
        super().__init__()
        self.layer = nn.ModuleList([SelfLayer(c, heads, kv, has_bias), FeedForwardLayer(c, hidden)])

    def forward(self, x, bias):
        return self.layer[1](self.layer[0](x, bias))


class Stack(nn.Module):
    def __init__(self, c, heads, kv, hidden, layers):
        super().__init__()
        self.block = nn.ModuleList(Block(c, heads, kv, hidden, i == 0) for i in range(layers))
        self.final_layer_norm = RmsNorm(c)


class T5(nn.Module):
    def __init__(self, vocab, d_model, d_kv, heads, d_ff, layers):
        super().__init__()
        self.shared = nn.Embedding(vocab, d_model)
        self.encoder = Stack(d_model, heads, d_kv, d_ff, layers)

    def forward(self, ids):
        """ids [B, n] -> hidden states [B, n, d_model]; rows at padding are meaningless."""
        x = self.shared(ids)
        bias = self.encoder.block[0].layer[0].SelfAttention.position_bias(ids.shape[1])
        bias = bias + torch.where(ids == PAD, -1e9, 0.0)[:, None, None]
        for block in self.encoder.block:
            x = block(x, bias)
        return self.encoder.final_layer_norm(x)
