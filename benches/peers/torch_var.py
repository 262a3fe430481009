#!/usr/bin/env python3
"""A PyTorch peer for timing: class-conditional VAR (arXiv 2404.02905), in one self-contained file.

The modules have the names of the released checkpoints, so `--check` loads the small recorded model as it is and
reproduces the logits, latents and pixels of the original program. For timing the weights are random and made in
memory, because speed does not depend on their values.

Written with care rather than as released: both branches of guidance run in one batch, keys and values are written
into buffers made once, scale 0 (equal for all candidates) runs once per branch, what depends on the class alone is
computed once, and images are decoded only at the end.

With --dtype bf16 all weights and activations are bfloat16; logits, sampling and the running sum of codes are
float32. FLOPs are not counted. One JSON line is printed; seconds are medians.

Examples
  torch_var.py --check
  torch_var.py --size var-d16 --loop single --threads 2 --repeat 3
  torch_var.py --size var-d16 --loop bon --n 4 --dtype bf16
"""
import argparse
import json
import math
import os
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn

GRIDS = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]  # sides of the token grids, 256 pixels
SIZES = {"var-d16": 16, "var-d20": 20, "var-d24": 24, "var-d30": 30}  # depth; width is 64 times that
CLASSES, VOCABULARY, CODE_WIDTH = 1000, 4096, 32
CFG, TOP_K, TOP_P = 4.0, 900, 0.95
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "data", "var-tiny")


# ---------------------------------------------------------------------------------- transformer


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.mat_qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("zero_k_bias", torch.zeros(width))
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4.0)))

    def ready(self):
        """Joins the biases, and takes the exponential of the sharpness, once."""
        self.bias = torch.cat((self.q_bias, self.zero_k_bias, self.v_bias))
        self.gain = self.scale_mul_1H11.float().clamp(max=math.log(100)).exp()

    def forward(self, x, cache, block):
        rows, tokens, width = x.shape
        qkv = F.linear(x, self.mat_qkv.weight, self.bias).view(rows, tokens, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (R, heads, L, head width)
        q = (F.normalize(q.float(), dim=-1) * self.gain).to(v.dtype)
        k = F.normalize(k.float(), dim=-1).to(v.dtype)
        k, v = cache.extend(block, k, v)
        out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return self.proj(out.transpose(1, 2).reshape(rows, tokens, width))


class FeedForward(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def modulate(x, scale, shift):
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class Block(nn.Module):
    """Rows come one branch after the other; all rows of a branch share their modulation."""

    def __init__(self, width, heads, hidden):
        super().__init__()
        self.attn, self.ffn = Attention(width, heads), FeedForward(width, hidden)
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x, modulation, cache, block):
        gate1, gate2, scale1, scale2, shift1, shift2 = modulation  # each (branches, 1, C)
        branches, shape = len(gate1), x.shape
        by_branch = (branches, -1, shape[-1])
        h = modulate(x.view(by_branch), scale1, shift1).view(shape)
        h = self.attn(h, cache, block)
        x = torch.addcmul(x.view(by_branch), h.view(by_branch), gate1)
        h = self.ffn(modulate(x, scale2, shift2))
        return torch.addcmul(x, h, gate2).view(shape)


class Cache:
    """Keys and values in buffers that are made once."""

    def __init__(self, depth, shape, dtype, device):
        """`shape` is (rows, heads, tokens of all scales, head width)."""
        self.used, self.kv = 0, [torch.empty((2, *shape), dtype=dtype, device=device) for _ in range(depth)]

    def extend(self, block, k, v):
        kv, end = self.kv[block], self.used + k.shape[2]
        if k.shape[0] == kv.shape[1]:
            kv[0, :, :, self.used:end], kv[1, :, :, self.used:end] = k, v
        else:  # scale 0 ran once per branch: spread it over the candidates
            spread = kv.unflatten(1, (k.shape[0], -1))
            spread[0, :, :, :, :end], spread[1, :, :, :, :end] = k[:, None], v[:, None]
        return (k, v) if self.used == 0 else kv[:, :, :, :end].unbind(0)


class Var(nn.Module):
    def __init__(self, width, depth, heads, hidden, grids, classes=CLASSES, vocabulary=VOCABULARY, codes=CODE_WIDTH):
        super().__init__()
        self.grids, self.heads, self.width = grids, heads, width
        tokens = sum(side * side for side in grids)
        self.word_embed, self.class_emb = nn.Linear(codes, width), nn.Embedding(classes + 1, width)
        self.pos_start = nn.Parameter(torch.randn(1, 1, width) / width ** 0.5)
        self.pos_1LC = nn.Parameter(torch.randn(1, tokens, width) / width ** 0.5)
        self.lvl_embed = nn.Embedding(len(grids), width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.head_nm = nn.ModuleDict({"ada_lin": nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))})
        self.head = nn.Linear(width, vocabulary)

    def ready(self):
        """Computes once what depends on the weights alone."""
        positions = self.pos_1LC[0].split([side * side for side in self.grids])
        self.positions = [p + self.lvl_embed.weight[i] for i, p in enumerate(positions)]
        for block in self.blocks:
            block.attn.ready()
        return self

    def condition(self, labels):
        """What depends on the classes alone: the first input and all modulations."""
        vector = self.class_emb(labels)  # (branches, C)
        blocks = [b.ada_lin(vector).view(len(labels), 1, 6, self.width).unbind(2) for b in self.blocks]
        head = self.head_nm["ada_lin"](vector).view(len(labels), 1, 2, self.width).unbind(2)
        return vector[:, None] + self.pos_start + self.positions[0], blocks, head

    def logits(self, x, condition, cache):
        """(branches * R, L, C) -> (branches, R * L, V), float32"""
        _, blocks, (scale, shift) = condition
        for i, block in enumerate(self.blocks):
            x = block(x, blocks[i], cache, i)
        cache.used += x.shape[1]
        return self.head(modulate(x.view(len(scale), -1, self.width), scale, shift)).float()


# ---------------------------------------------------------------------------------- tokenizer


class ResBlock(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, cin, 1e-6), nn.Conv2d(cin, cout, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(32, cout, 1e-6), nn.Conv2d(cout, cout, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x):
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class SpatialAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm, self.qkv = nn.GroupNorm(32, channels, 1e-6), nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)[:, None].chunk(3, -1)  # (B, 1, L, C)
        out = F.scaled_dot_product_attention(q, k, v)[:, 0]
        return x + self.proj_out(out.transpose(1, 2).reshape(x.shape))


class Decoder(nn.Module):
    def __init__(self, latent, base, multipliers, blocks):
        super().__init__()
        c = [base * m for m in multipliers]
        self.conv_in = nn.Conv2d(latent, c[-1], 3, padding=1)
        self.mid = nn.ModuleDict({"block_1": ResBlock(c[-1], c[-1]), "attn_1": SpatialAttention(c[-1]),
                                  "block_2": ResBlock(c[-1], c[-1])})
        levels = []
        for i, cout in enumerate(c):
            cin = (c + c[-1:])[i + 1]
            level = nn.ModuleDict({"block": nn.ModuleList(ResBlock(cin if j == 0 else cout, cout) for j in range(blocks))})
            if i == len(c) - 1:
                level["attn"] = nn.ModuleList(SpatialAttention(cout) for _ in range(blocks))
            if i > 0:
                level["upsample"] = nn.ModuleDict({"conv": nn.Conv2d(cout, cout, 3, padding=1)})
            levels.append(level)
        self.up = nn.ModuleList(levels)
        self.norm_out, self.conv_out = nn.GroupNorm(32, c[0], 1e-6), nn.Conv2d(c[0], 3, 3, padding=1)

    def forward(self, z):
        x = self.conv_in(z)
        x = self.mid["block_2"](self.mid["attn_1"](self.mid["block_1"](x)))
        for level in reversed(self.up):
            for i, block in enumerate(level["block"]):
                x = block(x)
                if "attn" in level:
                    x = level["attn"][i](x)
            if "upsample" in level:
                x = level["upsample"]["conv"](F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(x)))


class Quantizer(nn.Module):
    def __init__(self, vocabulary, codes, grids, phis=4):
        super().__init__()
        self.grids = grids
        self.embedding = nn.Embedding(vocabulary, codes)
        phi = nn.ModuleList(nn.Conv2d(codes, codes, 3, padding=1) for _ in range(phis))
        self.quant_resi = nn.ModuleDict({"qresi_ls": phi})
        ticks = torch.linspace(1 / 3 / phis, 1 - 1 / 3 / phis, phis, dtype=torch.float64)
        self.phi_of = [int((ticks - i / (len(grids) - 1)).abs().argmin()) for i in range(len(grids))]

    def add(self, total, scale, ids):
        """Adds the ids (R, L) of a scale to the running sum (R, d, H, W)."""
        side, end = self.grids[scale], self.grids[-1]
        h = self.embedding(ids).transpose(1, 2).unflatten(2, (side, side))
        if side != end:
            h = F.interpolate(h, size=(end, end), mode="bicubic")
        phi = self.quant_resi["qresi_ls"][self.phi_of[scale]]
        return total + (h + phi(h)) / 2

    def tokens(self, total, scale):
        side = self.grids[scale]
        return F.interpolate(total, size=(side, side), mode="area").flatten(2).transpose(1, 2)


class Tokenizer(nn.Module):
    def __init__(self, vocabulary, codes, grids, base, multipliers, blocks):
        super().__init__()
        self.quantize = Quantizer(vocabulary, codes, grids)
        self.post_quant_conv = nn.Conv2d(codes, codes, 3, padding=1)
        self.decoder = Decoder(codes, base, multipliers, blocks)

    def forward(self, total):
        return self.decoder(self.post_quant_conv(total.to(self.post_quant_conv.weight.dtype)))


# ---------------------------------------------------------------------------------- sampling


def draw(logits, rng):
    """Top-k, then top-p, then one id per token: (R, L, V) -> (R, L)"""
    top, ids = logits.topk(TOP_K, dim=-1)  # descending
    p = top.softmax(-1)
    before = p.cumsum(-1) - p
    top = top.masked_fill(before >= TOP_P, -torch.inf)
    at = torch.multinomial(top.softmax(-1).flatten(0, 1), 1, generator=rng)
    return ids.flatten(0, 1).gather(1, at).view(logits.shape[:2])


def sample(net, tokenizer, label, count, rng, mark, drawn=None, seen=None):
    """`count` images of a class: the running sum and the pixels. `drawn` replays ids."""
    device, dtype = net.pos_start.device, net.pos_start.dtype
    labels = torch.tensor([label, net.class_emb.num_embeddings - 1], device=device)
    condition = net.condition(labels)
    shape = (2 * count, net.heads, sum(side * side for side in net.grids), net.width // net.heads)
    cache = Cache(len(net.blocks), shape, dtype, device)
    x, last = condition[0], len(net.grids) - 1
    total = torch.zeros(count, tokenizer.post_quant_conv.in_channels, net.grids[-1], net.grids[-1], device=device)
    for scale, side in enumerate(net.grids):
        weight = CFG * scale / last
        logits = net.logits(x, condition, cache)
        logits = (logits[0] * (1 + weight) - logits[1] * weight).unflatten(0, (-1, side * side))
        mark("transformer")
        if seen is not None:
            seen.append(logits)
        ids = drawn[scale] if drawn else draw(logits.expand(count, -1, -1).contiguous(), rng)
        total = tokenizer.quantize.add(total, scale, ids)
        if scale < last:
            tokens = tokenizer.quantize.tokens(total, scale + 1).to(dtype)
            x = (net.word_embed(tokens) + net.positions[scale + 1]).repeat(2, 1, 1)
        mark("sample")
    pixels = tokenizer(total)
    mark("decode")
    return total, pixels


# ---------------------------------------------------------------------------------- program


def check(folder):
    """Compares with the recording of the original program; returns whether all limits are met."""
    from safetensors.torch import load_file
    global CFG
    with open(f"{folder}/config.json") as file:
        conf = json.load(file)
    CFG = conf["cfg"]
    net = Var(conf["embed_dim"], conf["depth"], conf["num_heads"], conf["mlp_ratio"] * conf["embed_dim"], conf["patch_nums"],
              conf["num_classes"], conf["vocab_size"], conf["Cvae"])
    tokenizer = Tokenizer(conf["vocab_size"], conf["Cvae"], conf["patch_nums"], conf["ch"], conf["ch_mult"],
                          conf["num_res_blocks"] + 1)
    for module, name in ((net, "var_shared_aln_false"), (tokenizer, "vae")):
        state = torch.load(f"{folder}/{conf['files'][name]}", weights_only=True)
        missing = module.load_state_dict(state, strict=False).missing_keys
        if missing:
            raise SystemExit(f"{name}: {missing} are missing")
    net.ready()
    want, report = load_file(f"{folder}/run.safetensors"), {}

    def note(name, got, expected, limit):
        worst = float((got - expected).abs().max())
        report[name] = {"max_abs_diff": max(worst, report.get(name, {}).get("max_abs_diff", 0)), "limit": limit}

    for row, label in enumerate(conf["labels"]):
        ids = [want[f"s{s:02d}.idx"][row:row + 1].long() for s in range(len(net.grids))]
        seen = []
        total, pixels = sample(net, tokenizer, label, 1, None, lambda _: None, ids, seen)
        for scale, logits in enumerate(seen):
            note("logits", logits, want[f"s{scale:02d}.logits"][row:row + 1], 3e-4)
        note("latent", total, want[f"s{len(net.grids) - 1:02d}.f_hat"][row:row + 1], 1e-4)
        if row == 0:
            note("decoder", pixels, want["final.decoder_out"], 2e-3)
    ok = all(entry["max_abs_diff"] <= entry["limit"] for entry in report.values())
    print(json.dumps({"check": report, "ok": ok}, indent=1))
    return ok


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--loop", choices=("single", "bon"), default="single", help="what to time (default single)")
    p.add_argument("--size", choices=SIZES, default="var-d16", help="model with random weights (default var-d16)")
    p.add_argument("--n", type=int, default=1, help="images of bon (default 1)")
    p.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="precision (default f32)")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to run (default cpu)")
    p.add_argument("--threads", type=int, default=0, help="CPU threads (default: PyTorch's choice)")
    p.add_argument("--repeat", type=int, default=3, help="timed runs after one warm-up; medians are reported (default 3)")
    p.add_argument("--seed", type=int, default=0, help="seed of weights and ids (default 0)")
    p.add_argument("--channels-last", action="store_true", help="channels-last memory layout in the decoder")
    p.add_argument("--check", action="store_true", help="compare with the recording of the original program, then stop")
    p.add_argument("--golden", default=GOLDEN, help=f"folder of the recording (default {GOLDEN})")
    return p.parse_args()


def timed(device, body):
    """Seconds of the stretches that `body` marks, and their total."""
    def now():
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    spent, began = {}, now()
    at = began

    def mark(name):
        nonlocal at
        then, at = at, now()
        spent[name] = spent.get(name, 0.0) + at - then

    body(mark)
    return {**spent, "total": now() - began}


@torch.inference_mode()
def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.check:
        raise SystemExit(0 if check(args.golden) else 1)
    device = torch.device(args.device)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    torch.backends.cudnn.allow_tf32 = False  # f32 means f32 on both sides of a comparison
    torch.backends.cudnn.benchmark = True
    depth = SIZES[args.size]
    torch.manual_seed(args.seed)
    with torch.device(device):
        net = Var(64 * depth, depth, depth, 256 * depth, GRIDS).to(dtype).ready()
        tokenizer = Tokenizer(VOCABULARY, CODE_WIDTH, GRIDS, 160, [1, 1, 2, 2, 4], 3)
    for module in (tokenizer.post_quant_conv, tokenizer.decoder):
        module.to(dtype)
        if args.channels_last:
            module.to(memory_format=torch.channels_last)
    count, times = args.n if args.loop == "bon" else 1, []
    for turn in range(args.repeat + 1):
        rng = torch.Generator(device).manual_seed(args.seed)
        spent = timed(device, lambda mark: sample(net, tokenizer, 207, count, rng, mark))
        if turn:
            times.append(spent)
    seconds = {name: sorted(t[name] for t in times)[len(times) // 2] for name in times[0]}
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    memory = {"cuda_max_allocated" if device.type == "cuda" else "peak_rss": round(peak / 2 ** 20, 1)}
    print(json.dumps({
        "implementation": "pytorch", "torch": torch.__version__, "loop": args.loop, "size": args.size, "pixels": 16 * GRIDS[-1],
        "dtype": args.dtype, "device": device.type,
        "device_name": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "threads": torch.get_num_threads(),
        "channels_last": args.channels_last, "seed": args.seed, "repeat": args.repeat, "n": count,
        "seconds": {name: round(value, 6) for name, value in seconds.items()}, "memory_mib": memory}))


if __name__ == "__main__":
    main()
