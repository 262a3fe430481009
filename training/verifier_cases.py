"""Records what the shipped latent verifier answers, for the test of its twin in Rust."""
import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from latent_verifier import LatentEncoder
from train_verifier import Pairs, load_reward
from vit import reward_ids

README = """# verifier-demo

Answers of the demo's latent verifier (`assets/demo/verifier.safetensors` with text encoder and head of
`assets/demo/ImageReward.pt`) in PyTorch, float32 on CPU, recorded by `training/verifier_cases.py` from the network in
`training/latent_verifier.py`. The weights are those of the bundle; after another training, record again.

- `config.json`: prompts, the samples behind the latents with their settings, scales, and the limits of the test: absolute
  for tokens, which have standard deviation 1, for scores, which lie between about -3 and 2.5, and for latents and hidden
  states, which were stored in half precision.
- `golden.safetensors`:

| tensor | shape | contents |
|---|---|---|
| `latents.S` | [2, 16, 8, 8] | latents of two samples after scale S |
| `hidden.S` | [2, 128, h, w] | hidden states of block 3 for the tokens of scale S |
| `tokens.S` | [2, 65, 128] | tokens for them |
| `scores.S` | [2, 2] | predictions, one row per prompt |
| `latents.wide` | [2, 16, 6, 10] | latents with another grid, read as after the first scale |
| `hidden.wide` | [2, 128, 3, 5] | hidden states with another grid |
| `tokens.wide` | [2, 65, 128] | tokens for them |
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of `ttsvar collect`, for realistic latents")
    parser.add_argument("--bundle", type=Path, default=Path("../assets/demo"))
    parser.add_argument("--to", type=Path, default=Path("../tests/data/verifier-demo"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    reward, pairs, net = load_reward(args.bundle), Pairs(args.pairs), LatentEncoder()
    net.load_state_dict({k: v.float() for k, v in load_file(args.bundle / "verifier.safetensors").items()})
    prompts, scales, out = ["a photo of a star", "a red ring above the blue cross"], [2, 3, 4, 5], {}
    with torch.no_grad():
        for scale in scales:
            latents, hidden, _ = pairs.after(slice(0, 2), scale)
            latents, hidden = latents.float(), hidden.float()
            tokens = net.eval()(latents, hidden, scale)
            scores = [reward.score(tokens, reward_ids([prompt] * 2)) for prompt in prompts]
            out |= {f"latents.{scale}": latents, f"hidden.{scale}": hidden, f"tokens.{scale}": tokens}
            out[f"scores.{scale}"] = torch.stack(scores)
        wide, hidden = torch.randn(2, 16, 6, 10) * 0.5, torch.randn(2, 128, 3, 5) * 2
        out |= {"latents.wide": wide, "hidden.wide": hidden, "tokens.wide": net(wide, hidden, scales[0])}
    args.to.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in out.items()}, args.to / "golden.safetensors")
    limits = {"tokens": 2e-4, "scores": 2e-4, "latents": 1e-3, "hidden": 2e-2}
    samples = [{key: sample[key] for key in ("prompt", "seed")} for sample in pairs.samples[:2]]
    settings = {key: pairs.settings[key] for key in ("cfg", "tau", "top_p", "top_k")}
    config = {"prompts": prompts, "samples": samples, "settings": settings, "scales": scales, "limits": limits}
    (args.to / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (args.to / "README.md").write_text(README)


if __name__ == "__main__":
    main()
