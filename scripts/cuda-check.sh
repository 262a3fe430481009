#!/usr/bin/env bash
# Runs every check that needs an NVIDIA GPU, the most telling first, in less than 8 minutes: kernels and networks against the CPU
# and the recordings, an image of the demo, Infinity-2B at one megapixel, a search, then the same in PyTorch. Writes what each
# step printed to OUT (default: cuda-check), and all results to OUT/results.json. A step that fails does not end the others.
#
#   scripts/cuda-check.sh [OUT]
#   PROGRAM=ttsvar CHECKS=cuda-tests scripts/cuda-check.sh [OUT]
#
# Without PROGRAM and CHECKS it builds both, which needs Rust, a C compiler and a CUDA toolkit (for the one from
# scripts/cuda-toolkit.sh, source its env.sh first). With them it needs the driver, the libraries of the toolkit (those in
# PyTorch's packages are found) and Python. `scripts/cuda-check.sh build DIR` puts both programs into DIR, without symbols.
#
# PYTHON names a Python with PyTorch; without one nothing is timed against it. DEVICE=cpu ARCH=infinity-layer12 PIXELS=0.06M
# DTYPE=f32 tries the script on a machine without a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

build() { # FOLDER
  cargo build --release --features cuda --bin ttsvar
  local tests
  tests=$(cargo test --release --features cuda --test cuda --no-run --message-format=json |
    sed -n 's/.*"name":"cuda".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
  mkdir -p "$1"
  strip -o "$1/ttsvar" target/release/ttsvar
  strip -o "$1/cuda-tests" "$tests"
}

if [ "${1:-}" = build ]; then
  build "${2:?usage: scripts/cuda-check.sh build DIR}"
  exit
fi

out=${1:-cuda-check}
python=${PYTHON:-python3}
device=${DEVICE:-cuda}
mkdir -p "$out"
out=$(cd "$out" && pwd)

if [ "$device" = cuda ]; then
  command -v nvidia-smi >/dev/null || { echo "no NVIDIA driver: this script is for a machine with a GPU" >&2; exit 1; }
  nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv | tee "$out/gpu.csv"
  if [ -z "${CUDA_COMPUTE_CAP:-}" ]; then
    CUDA_COMPUTE_CAP=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
    export CUDA_COMPUTE_CAP
  fi
  export TTSVAR_GPU=required
fi
if [ -z "${PROGRAM:-}" ] || [ -z "${CHECKS:-}" ]; then
  build "$out/programs"
  PROGRAM=$out/programs/ttsvar
  CHECKS=$out/programs/cuda-tests
fi
program=$(realpath "$PROGRAM")
checks=$(realpath "$CHECKS")
# The libraries of the toolkit that PyTorch's packages bring.
for folder in $("$python" -c 'import glob, site
print(*[f for root in site.getsitepackages() for f in glob.glob(root + "/nvidia/*/lib")])' 2>/dev/null || true); do
  export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
export TTSVAR_GOLDEN=${TTSVAR_GOLDEN:-$PWD/tests/data}

failed=0
: >"$out/results.jsonl"
step() { # NAME SECONDS COMMAND...: runs a command for at most some seconds
  local name=$1 limit=$2 begun=$SECONDS code=0
  shift 2
  echo "== $name"
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.txt" 2>&1 || code=$?
  tail -n 20 "$out/$name.txt"
  [ "$code" = 0 ] || { failed=1; echo "$name: exit code $code" >&2; }
  "$python" - "$name" "$code" "$((SECONDS - begun))" "$out/$name.txt" <<'PYTHON' >>"$out/results.jsonl"
import json, sys
name, code, seconds, path = sys.argv[1:]
text = open(path, errors="replace").read()
figures = []
for line in text.splitlines():
    if line.startswith("{"):
        try:
            figures.append(json.loads(line))
        except ValueError:
            pass
print(json.dumps({"step": name, "exit_code": int(code), "seconds": int(seconds), "figures": figures, "output": text[-4000:]}))
PYTHON
}

big=(--device "$device" --arch "${ARCH:-2b}" --pixels "${PIXELS:-1M}" --dtype "${DTYPE:-bf16}")
step checks 150 "$checks"
step demo 30 "$program" generate "a red circle and a blue star" --device "$device" --seed 1 --out "$out/demo.png" --json
step single 60 "$program" bench "${big[@]}" --method raw --repeat 1 --json --quiet
step lean 90 "$program" bench "${big[@]}" --method tts-var --n 1 --preview 256 --repeat 1 --json --quiet
if "$python" -c 'import torch' 2>/dev/null; then
  step against-single 75 "$python" benches/against_torch.py "${big[@]}" --ttsvar "$program" --python "$python" --repeat 1 \
    --loops single --peer=--channels-last --json "$out/against-single.json"
  step against-lean 75 "$python" benches/against_torch.py "${big[@]}" --ttsvar "$program" --python "$python" --repeat 1 \
    --loops lean --preview 256 --peer=--channels-last --json "$out/against-lean.json"
else
  echo "$python has no PyTorch: nothing was timed against it" >&2
fi

"$python" - "$out" <<'PYTHON'
import json, os, sys
out = sys.argv[1]
steps = [json.loads(line) for line in open(os.path.join(out, "results.jsonl"))]
for step in steps:
    ratios = os.path.join(out, step["step"] + ".json")
    if os.path.exists(ratios):
        step["figures"].append(json.load(open(ratios)))
gpu = os.path.join(out, "gpu.csv")
about = open(gpu).read().splitlines()[-1] if os.path.exists(gpu) else None
with open(os.path.join(out, "results.json"), "w") as file:
    json.dump({"gpu": about, "steps": steps}, file, indent=1)
os.remove(os.path.join(out, "results.jsonl"))
for step in steps:
    print(f"{step['step']:<16} {'ok' if step['exit_code'] == 0 else 'FAILED':<7} {step['seconds']} s")
PYTHON
exit "$failed"
