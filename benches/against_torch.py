#!/usr/bin/env python3
"""Times ttsvar against the PyTorch peer, one after the other, and prints the ratios: below 1 ttsvar is faster.

Both sides sample with random weights made in memory, run no text encoder, and use the same stand-ins for scorer and
features. Every round runs each loop once on either side, after a run that warms up, so that a machine that slows down
slows both; the ratio of a loop is that of the medians over the rounds.

  single    one guided image and its decode
  lean      TTS-VAR at N = 1, written with care on both sides
  official  ttsvar's TTS-VAR at N = 1 against PyTorch with the order and the repeated work of the released program
  bon       best of N images

On a GPU both sides wait for it before they read the clock, and the most memory that tensors took is printed. `--preview` is
ttsvar's alone: the peer always looks at full pictures.

Examples
  cargo build --release && python3 benches/against_torch.py --arch infinity-layer12 --pixels 0.06M --repeat 3
  python3 benches/against_torch.py --arch var-d16 --loops single,bon --n 4
  python3 benches/against_torch.py --device cuda --arch 2b --pixels 1M --dtype bf16 --runs 3 --n 2 --loops lean --preview 256
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.path.join(HERE, "peers")
METHODS = {"single": "raw", "lean": "tts-var", "official": "tts-var", "bon": "best-of-n"}  # ours, by the peer's loop

LABELS = {
    "single": "one image",
    "transformer": "one image: transformer",
    "decode": "one image: decode",
    "modulate": "AdaLN",
    "gelu": "GELU",
    "conv": "convolution",
    "upsample": "upsampling by 2 and convolution",
    "group_norm_silu": "group norm and SiLU",
}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--arch", default="infinity-layer12", help="architecture (default infinity-layer12)")
    p.add_argument("--pixels", default="0.06M", help="0.06M, 0.25M, 0.60M or 1M (default 0.06M); VAR has one size, 256 pixels")
    p.add_argument("--dtype", choices=("f32", "bf16", "q8"), default="f32", help="ttsvar's precision (default f32)")
    p.add_argument("--peer-dtype", choices=("f32", "bf16"), help="PyTorch's precision (default: the same; bf16 beside q8)")
    p.add_argument("--repeat", type=int, default=3, help="rounds (default 3)")
    p.add_argument("--runs", type=int, default=1, help="timed runs of a round, whose median counts (default 1)")
    p.add_argument("--n", type=int, default=1, help="N of the searches (default 1)")
    p.add_argument("--preview", default="full", help="size of ttsvar's previews (default full)")
    p.add_argument("--peer", default="", metavar="OPTIONS", help="more options of the peer, such as '--channels-last'")
    p.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of both sides (default: all cores)")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where both run (default cpu)")
    p.add_argument("--loops", default="single,lean,official,ops", help="what to run (default single,lean,official,ops)")
    p.add_argument("--json", metavar="FILE", help="write all figures to this file")
    p.add_argument("--ttsvar", default=os.path.join(HERE, "..", "target", "release", "ttsvar"), help="the program")
    p.add_argument("--python", default=sys.executable, help="a Python with PyTorch (default: this one)")
    args = p.parse_args()
    args.peer_dtype = args.peer_dtype or ("bf16" if args.dtype == "q8" else args.dtype)
    return args


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def is_var(arch):
    return arch.startswith("var-")


def peer(arch):
    return os.path.join(PEERS, "torch_var.py" if is_var(arch) else "torch_infinity.py")


def both(args, loop):
    """One round of a loop: ours, theirs."""
    ours = [args.ttsvar, "bench", "--arch", args.arch, "--dtype", args.dtype, "--device", args.device,
            "--threads", str(args.threads), "--json", "--quiet"]
    theirs = [args.python, peer(args.arch), "--size", args.arch, "--dtype", args.peer_dtype, "--device", args.device,
              "--threads", str(args.threads), *args.peer.split()]
    if not is_var(args.arch):
        ours, theirs = [*ours, "--pixels", args.pixels], [*theirs, "--pn", args.pixels]
    if loop == "ops":
        return run([*ours, "--ops"]), run([*theirs, "--ops"])
    ours += ["--method", METHODS[loop], "--repeat", str(args.runs)]
    if loop != "single":
        ours, theirs = [*ours, "--n", str(args.n), "--preview", args.preview], [*theirs, "--n", str(args.n)]
    return run(ours), run([*theirs, "--loop", loop, "--repeat", str(args.runs)])


def figures(loop, report):
    """Seconds by the name of the ratio that they enter."""
    if loop == "ops":
        return report["ops"]
    seconds = report["seconds"]
    if loop != "single":
        return {loop: seconds["total"]}
    sampling = seconds["transformer"] + seconds.get("sample", 0.0)  # ours counts sampling with the transformer
    return {"single": seconds["total"], "decode": seconds["decode"], "transformer": sampling}


def main():
    args = arguments()
    loops = args.loops.split(",")
    unknown = [loop for loop in loops if loop != "ops" and loop not in METHODS]
    if is_var(args.arch) and set(loops) - {"single", "bon"}:
        raise SystemExit("the peer of VAR has the loops single and bon")
    if unknown or min(args.repeat, args.runs, args.n) < 1:
        raise SystemExit(f"unknown loops {unknown}" if unknown else "--repeat, --runs and --n must be 1 or more")
    seconds, reports = {}, []
    for turn in range(args.repeat):
        for loop in loops:
            pair = both(args, loop)
            reports.append({"round": turn, "loop": loop, "ttsvar": pair[0], "pytorch": pair[1]})
            for side, report in enumerate(pair):
                for name, value in figures(loop, report).items():
                    seconds.setdefault(name, ([], []))[side].append(value)
            print(f"round {turn + 1}/{args.repeat}: {loop}", file=sys.stderr)
    medians = {name: [statistics.median(side) for side in sides] for name, sides in seconds.items()}
    ratios = {name: ours / theirs for name, (ours, theirs) in medians.items()}
    where = next((pair["pytorch"]["device_name"] for pair in reports if "device_name" in pair["pytorch"]), args.device)
    what = f"N = {args.n}, {args.preview} previews"
    size = "256 pixels" if is_var(args.arch) else args.pixels
    dtype = args.dtype if args.dtype == args.peer_dtype else f"{args.dtype} against {args.peer_dtype}"
    print(f"{args.arch} {size} {dtype} on {where}, {what}, {args.threads} threads, medians of {args.repeat}\n")
    print("| | ttsvar, s | PyTorch, s | ratio |\n|---|---:|---:|---:|")
    for name, (ours, theirs) in medians.items():
        print(f"| {LABELS.get(name, name)} | {ours:.4f} | {theirs:.4f} | {ratios[name]:.2f} |")
    for pair in reports[:len(loops)] if args.device == "cuda" else []:
        memory = [pair[side].get("memory_mib", {}).get("cuda_max_allocated") for side in ("ttsvar", "pytorch")]
        if all(memory):
            print(f"\n{pair['loop']}: {memory[0]:.0f} MiB of GPU memory at the peak, PyTorch {memory[1]:.0f} MiB")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"ratios": ratios, "seconds": medians, "arguments": vars(args), "reports": reports}, file, indent=1)


if __name__ == "__main__":
    main()
