"""Writes the demo bundle: the five networks in the files of the released originals (bfloat16), and bundle.toml."""
import argparse
import json
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

import bsq_vae
import text_files
from captions import WORDS, test_prompts
from t5 import token_ids

BUNDLE = """name = "demo"
about = "synthetic scenes: six shapes, eight colours; trained by this project"
version = "{version}"

[generator]
family = "infinity"
weights = "infinity.pth"
vae = "infinity_vae.pth"
scales = {scales}   # token grid (h, w) per scale
rope_grid = [8, 8]

[text]
family = "t5"
weights = "t5"
words = {words}

[scorer]
family = "demo-reward"
weights = "ImageReward.pt"
config = "med_config.json"
vocab = "vocab.txt"
heads = 4

[features]
family = "dinov2"
weights = "dinov2.pth"
heads = 4
size = [64, 64]

[verifier]
weights = "verifier.safetensors"
predicts = "demo-reward"
scales = [3, 4]
above = 0.0

[defaults]
cfg = {cfg}
tau = {tau}
top_p = 0.97
method = "tts-var"
n = 1
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with the checkpoints")
    parser.add_argument("--to", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--vae", default="vae.pth")
    parser.add_argument("--generator", default="generator.pt")
    parser.add_argument("--features", default="features.pt")
    parser.add_argument("--reward", default="reward.pt")
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--tau", type=float, default=0.5)
    parser.add_argument("--version", default="1")
    return parser.parse_args()


def small(state):
    """Floating tensors as contiguous bfloat16, integers unchanged."""
    return OrderedDict((k, v.detach().to(torch.bfloat16).clone() if v.is_floating_point() else v.clone()) for k, v in state.items())


def export_vae(source, folder):
    state = small(torch.load(source, weights_only=True)["vae"])
    torch.save({"vae": state}, folder / "infinity_vae.pth")


def export_generator(source, folder):
    state = torch.load(source, weights_only=True, mmap=True)
    torch.save(small(state["infinity"]), folder / "infinity.pth")
    (folder / "t5").mkdir(parents=True, exist_ok=True)
    save_file(dict(small(state["t5"])), folder / "t5" / "model.safetensors", metadata={"format": "pt"})


def export_features(source, folder):
    state = torch.load(source, weights_only=True)
    torch.save(small({k[4:]: v for k, v in state.items() if k.startswith("vit.")}), folder / "dinov2.pth")


def export_reward(source, folder):
    torch.save(small(torch.load(source, weights_only=True)), folder / "ImageReward.pt")


PARTS = {"vae": export_vae, "generator": export_generator, "features": export_features, "reward": export_reward}


def check_tokenizer(folder):
    """The written tokenizer must give the ids that training used."""
    tokenizer = Tokenizer.from_file(str(folder / "t5" / "tokenizer.json"))
    captions = [p["caption"] for p in test_prompts()] + ["a shiny red star", "three crosses", " ".join(WORDS)]
    for caption in captions:
        want = [i for i in token_ids([caption])[0].tolist() if i]
        assert tokenizer.encode(caption).ids == want, caption
    assert tokenizer.encode("A  Red STAR").ids == token_ids(["a red star"])[0].tolist()


def main():
    args = arguments()
    args.to.mkdir(parents=True, exist_ok=True)
    for part, export in PARTS.items():
        if getattr(args, part) != "keep":
            export(args.out / getattr(args, part), args.to)
    text_files.write(args.to)
    check_tokenizer(args.to)
    scales = json.dumps([[s, s] for s in bsq_vae.SCALES])
    (args.to / "bundle.toml").write_text(
        BUNDLE.format(version=args.version, scales=scales, words=json.dumps(WORDS), cfg=args.cfg, tau=args.tau))
    sizes = {str(p.relative_to(args.to)): p.stat().st_size for p in sorted(args.to.rglob("*")) if p.is_file()}
    print(json.dumps(sizes | {"total": sum(sizes.values())}, indent=1))


if __name__ == "__main__":
    main()
