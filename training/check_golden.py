"""Proves that the networks of this folder are the released ones: runs them on tiny checkpoints with recorded tensors."""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import bsq_vae
from infinity import Infinity, rope_tables
from t5 import T5
from vit import CLIP, IMAGENET, ImageReward, Vit, pixels


def compare(name, got, want, limit):
    worst = (got.float() - want.float()).abs().max().item()
    print(f"{name:<34} max difference {worst:.1e}  limit {limit:.0e}  {'ok' if worst <= limit else 'WRONG'}")
    return worst <= limit


def read(path):
    return torch.load(path, weights_only=True)


def check_infinity(root):
    """Forced bits of run_a: logits of every scale with growing caches, then the decoder."""
    conf = json.loads((root / "config.json").read_text())
    t, run = conf["transformer"], conf["runs"]["run_a"]
    model = Infinity(t["embed_dim"], t["depth"], t["num_heads"], t["block_chunks"], t["text_channels"], conf["vae"]["codebook_dim"])
    model.load_state_dict(read(root / conf["files"]["model"]))
    want, told = load_file(root / "run_a.safetensors"), load_file(root / "text.safetensors")
    lens, grids = told["lens"].tolist(), run["scales_hw"]
    rows = torch.nn.utils.rnn.pad_sequence(list(told["kv_compact"].split(lens)), batch_first=True)
    there, b = torch.arange(rows.shape[1])[None] < torch.tensor(lens)[:, None], len(lens)
    text = model.text(rows.repeat(2, 1, 1), there.repeat(2, 1), torch.arange(2 * b) >= b)
    cos, sin = rope_tables(model.head_dim, grids, (64, 64))
    x, seen, total, ok, caches = model.start(text[0]), 0, 0.0, True, [[] for _ in model.blocks]
    for i, (h, w) in enumerate(grids):
        logits = model.logits(x, text, None, (cos[seen:seen + h * w], sin[seen:seen + h * w]), caches) / run["tau"]
        logits = run["cfg"] * logits[:b] + (1 - run["cfg"]) * logits[b:]
        ok &= compare(f"infinity logits, scale {i}", logits, want[f"s{i:02d}.logits"], 5e-4)
        bits = want[f"s{i:02d}.bits"].float()
        codes = ((bits * 2 - 1) * bits.shape[-1] ** -0.5).transpose(1, 2).unflatten(-1, (h, w))
        total, seen = total + bsq_vae.resize(codes, grids[-1][0]), seen + h * w
        if i + 1 < len(grids):
            tokens = bsq_vae.resize(total, grids[i + 1][0]).flatten(2).transpose(1, 2)
            x = model.embed(tokens, torch.tensor(i + 1)).repeat(2, 1, 1)
    v = conf["vae"]
    vae = bsq_vae.Vae(ch=v["base_ch"], ch_mult=v["ch_mult"], res_blocks=v["num_res_blocks"], z=v["codebook_dim"])
    state = read(root / conf["files"]["vae"])["vae"]
    vae.load_state_dict({k: w for k, w in state.items() if k.startswith(("encoder.", "decoder."))})
    ok &= compare("vae decoder", vae.decoder(total[:1]), want["final.decoder_out"], 2e-3)
    return ok & check_encode(root, vae, [h for h, _ in conf["encode"]["scales_hw_vae"]])


def check_encode(root, vae, scales):
    want = load_file(root / "vae_encode.safetensors")
    picture = torch.from_numpy(np.array(Image.open(root / "encode_input.png").convert("RGB"))).permute(2, 0, 1)[None]
    h = vae.encoder(picture.float() / 255 * 2 - 1)
    sums, bits = bsq_vae.multi_scale(h, scales)
    ok = compare("vae encoder", h.flatten(), want["encoder_out"].flatten(), 2e-3)
    for i, got in enumerate(bits):
        same = (got.permute(0, 2, 3, 1).flatten() == want[f"s{i:02d}.bits"].bool().flatten()).float().mean()
        ok &= compare(f"vae bits, scale {i}: share that differs", 1 - same, torch.tensor(0.0), 1e-3)
    return ok & compare("vae quantised", sums[-1].flatten(), want["quantized"].flatten(), 1e-4)


def check_t5(root):
    c = json.loads((root / "config.json").read_text())
    model = T5(c["vocab_size"], c["d_model"], c["d_kv"], c["num_heads"], c["d_ff"], c["num_layers"])
    state = load_file(root / "model.safetensors")
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith(("decoder.", "lm_head."))})
    want, ok = load_file(root / "golden.safetensors"), True
    for p in (0, 1, 2, 4, 5):
        rows = want[f"p{p}.last_hidden_state"]
        ok &= compare(f"t5 prompt {p}", model(want["input_ids"][p:p + 1, :len(rows)])[0], rows, 1e-4)
    return ok


def check_reward(root):
    c = json.loads((root / "config.json").read_text())
    vision = dict(dim=c["vision_width"], depth=c["vision_layers"], heads=c["vision_heads"], patch=c["patch_size"],
                  grid=c["image_size"] // c["patch_size"])
    t = c["text"]
    text = dict(dim=t["hidden_size"], depth=t["num_hidden_layers"], heads=t["num_attention_heads"], vocab=t["vocab_size"],
                positions=t["max_position_embeddings"])
    model = ImageReward(vision, text)
    model.load_state_dict(read(root / "ImageReward.pt"))
    want = load_file(root / "golden.safetensors")
    tokens = model.blip.visual_encoder(pixels(want["resized_cropped_u8"].permute(0, 3, 1, 2), CLIP))
    ok = compare("reward picture tokens", tokens[0], want["image_embeds_0"], 2e-4)
    for p, ids in enumerate(want["input_ids"]):
        ok &= compare(f"reward scores, prompt {p}", model.score(tokens, ids.expand(len(tokens), -1)), want["scores"][p], 5e-4)
    return ok


def check_dinov2(root):
    c = json.loads((root / "config.json").read_text())
    state = read(root / c["variants"]["reg"]["file"])
    want = load_file(root / "golden.safetensors")
    state["pos_embed"] = want["reg.pos_embed_16x16"][None]          # the demo never interpolates its position table
    model = Vit(c["embed_dim"], c["depth"], c["num_heads"], c["patch_size"], 16, registers=4, layer_scale=True)
    model.load_state_dict(state)
    tokens = model(pixels(want["resized_u8"].permute(0, 3, 1, 2), IMAGENET))
    ok = compare("dinov2 class token", tokens[:, 0], want["reg.x_norm_clstoken"], 3e-4)
    return ok & compare("dinov2 patch tokens", tokens[:2, 5:], want["reg.x_norm_patchtokens"], 3e-4)


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("golden", type=Path, help="folder with infinity-tiny, t5-tiny, imagereward-tiny, dinov2-tiny")
    root = parser.parse_args().golden
    ok = check_infinity(root / "infinity-tiny") & check_t5(root / "t5-tiny")
    ok &= check_reward(root / "imagereward-tiny") & check_dinov2(root / "dinov2-tiny")
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    main()
