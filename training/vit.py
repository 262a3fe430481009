"""The feature network (DINOv2 with registers) and the reward (ImageReward = BLIP + head), with their key names."""
import torch
import torch.nn.functional as F
from torch import nn

from captions import WORDS
from t5 import attend

VIT = dict(dim=128, depth=4, heads=4, patch=8, grid=8)
TEXT = dict(dim=128, depth=3, heads=4, vocab=104 + len(WORDS) + 2, positions=64)
REWARD_MEAN, REWARD_STD = 0.16717362830052426, 1.0333394966054072
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PAD, UNKNOWN, CLS, SEP, FIRST_WORD = 0, 100, 101, 102, 104
WORD_IDS = {word: FIRST_WORD + i for i, word in enumerate(WORDS)}


def pixels(pictures, norm):
    """uint8 [n,3,64,64] -> normalised floats."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in norm)
    return (pictures.float() / 255 - mean) / std


def reward_ids(captions):
    """[CLS] words [SEP], padded with 0 to the longest caption (the padding is masked, so its length does not matter)."""
    rows = [[CLS] + [WORD_IDS.get(w, UNKNOWN) for w in c.lower().split()] + [SEP] for c in captions]
    length = max(map(len, rows))
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


# ------------------------------------------------------------------------------------------ vision transformer


class FusedAttention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(attend(q, k, v, None, q.shape[-1] ** -0.5).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(c))

    def forward(self, x):
        return x * self.gamma


class VitBlock(nn.Module):
    def __init__(self, c, heads, layer_scale):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(c, eps=1e-6), FusedAttention(c, heads)
        self.norm2, self.mlp = nn.LayerNorm(c, eps=1e-6), Mlp(c)
        if layer_scale:
            self.ls1, self.ls2 = LayerScale(c), LayerScale(c)
        self.scales = layer_scale

    def forward(self, x):
        y = self.attn(self.norm1(x))
        x = x + (self.ls1(y) if self.scales else y)
        y = self.mlp(self.norm2(x))
        return x + (self.ls2(y) if self.scales else y)


class PatchEmbed(nn.Module):
    def __init__(self, c, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, c, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Vit(nn.Module):
    """DINOv2 (registers > 0, LayerScale) or BLIP's image encoder (neither)."""

    def __init__(self, dim, depth, heads, patch, grid, registers=0, layer_scale=False):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + grid * grid, dim) * 0.1)
        if registers:
            self.register_tokens = nn.Parameter(torch.randn(1, registers, dim) * 0.02)
            self.register_buffer("mask_token", torch.zeros(1, dim))
        self.patch_embed = PatchEmbed(dim, patch)
        self.blocks = nn.ModuleList(VitBlock(dim, heads, layer_scale) for _ in range(depth))
        self.norm, self.registers = nn.LayerNorm(dim, eps=1e-6), registers

    def forward(self, x):
        """Normalised pictures -> normalised tokens: class, registers, patches in rows."""
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1).to(x.dtype), x], 1) + self.pos_embed
        if self.registers:
            x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1).to(x.dtype), x[:, 1:]], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def feature_net():
    return Vit(**VIT, registers=4, layer_scale=True)


# ------------------------------------------------------------------------------------------ text with picture


class SplitAttention(nn.Module):
    def __init__(self, c, kv_dim):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(c, c), nn.Linear(kv_dim, c), nn.Linear(kv_dim, c)


class NormedOutput(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(cin, cout), nn.LayerNorm(cout, eps=1e-12)

    def forward(self, x, residual):
        return self.LayerNorm(self.dense(x) + residual)


class BertAttention(nn.Module):
    def __init__(self, c, heads, kv_dim):
        super().__init__()
        self.self, self.output, self.heads = SplitAttention(c, kv_dim), NormedOutput(c, c), heads

    def forward(self, x, other, mask):
        split = lambda layer, y: layer(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k, v = split(self.self.query, x), split(self.self.key, other), split(self.self.value, other)
        return self.output(attend(q, k, v, mask, q.shape[-1] ** -0.5).transpose(1, 2).flatten(2), x)


class Intermediate(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dense = nn.Linear(c, 4 * c)


class BertLayer(nn.Module):
    def __init__(self, c, heads, vision_dim):
        super().__init__()
        self.attention, self.crossattention = BertAttention(c, heads, c), BertAttention(c, heads, vision_dim)
        self.intermediate, self.output = Intermediate(c), NormedOutput(4 * c, c)

    def forward(self, x, picture, mask):
        x = self.crossattention(self.attention(x, x, mask), picture, None)
        return self.output(F.gelu(self.intermediate.dense(x)), x)


class Embeddings(nn.Module):
    def __init__(self, c, vocab, positions):
        super().__init__()
        self.word_embeddings, self.position_embeddings = nn.Embedding(vocab, c), nn.Embedding(positions, c)
        self.LayerNorm = nn.LayerNorm(c, eps=1e-12)
        self.register_buffer("position_ids", torch.arange(positions)[None])
        nn.init.normal_(self.word_embeddings.weight, std=0.3)
        nn.init.normal_(self.position_embeddings.weight, std=0.3)

    def forward(self, ids):
        return self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings.weight[: ids.shape[1]])


class Encoder(nn.Module):
    def __init__(self, c, depth, heads, vision_dim):
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(c, heads, vision_dim) for _ in range(depth))


class Med(nn.Module):
    def __init__(self, dim, depth, heads, vocab, positions, vision_dim):
        super().__init__()
        self.embeddings, self.encoder = Embeddings(dim, vocab, positions), Encoder(dim, depth, heads, vision_dim)

    def forward(self, ids, picture):
        x = self.embeddings(ids)
        mask = torch.where(ids == PAD, -10000.0, 0.0)[:, None, None].to(picture.dtype)
        for layer in self.encoder.layer:
            x = layer(x, picture, mask)
        return x


class Blip(nn.Module):
    def __init__(self, vision, text):
        super().__init__()
        self.visual_encoder = Vit(**vision)
        self.text_encoder = Med(**text, vision_dim=vision["dim"])
        self.vision_proj, self.text_proj = nn.Linear(vision["dim"], 256), nn.Linear(text["dim"], 256)      # unused


class Head(nn.Module):
    def __init__(self, c):
        super().__init__()
        drop = nn.Dropout
        self.layers = nn.Sequential(nn.Linear(c, 1024), drop(0.0), nn.Linear(1024, 128), drop(0.0), nn.Linear(128, 64),
                                    drop(0.0), nn.Linear(64, 16), nn.Linear(16, 1))

    def forward(self, x):
        return self.layers(x)[:, 0]


class ImageReward(nn.Module):
    def __init__(self, vision=None, text=None):
        super().__init__()
        vision, text = vision or VIT, text or TEXT
        self.blip, self.mlp = Blip(vision, text), Head(text["dim"])

    def score(self, tokens, ids):
        """Picture tokens [B,65,C] and ids [B,n] -> rewards [B]."""
        raw = self.mlp(self.blip.text_encoder(ids, tokens)[:, 0]).float()
        return (raw - REWARD_MEAN) / REWARD_STD

    def forward(self, x, ids):
        return self.score(self.blip.visual_encoder(x), ids)


def vision_from_features(state):
    """BLIP image weights from feature-network weights: LayerScale and the other colour norm are folded in."""
    out = {}
    for name, value in state.items():
        if ".ls" in name or name in ("register_tokens", "mask_token"):
            continue
        for part, gamma in (("attn.proj", "ls1"), ("mlp.fc2", "ls2")):
            if part in name:
                scale = state[name.split(part)[0] + gamma + ".gamma"]
                value = value * (scale[:, None] if value.ndim == 2 else scale)
        out[name] = value
    (clip_mean, clip_std), (mean, std) = (tuple(torch.tensor(v) for v in norm) for norm in (CLIP, IMAGENET))
    kernel = out["patch_embed.proj.weight"]
    shift = ((clip_mean - mean) / std).view(1, 3, 1, 1)
    out["patch_embed.proj.bias"] = out["patch_embed.proj.bias"] + (kernel * shift).sum((1, 2, 3))
    out["patch_embed.proj.weight"] = kernel * (clip_std / std).view(1, 3, 1, 1)
    return out
