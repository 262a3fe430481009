#!/usr/bin/env bash
# Runs every check that needs an NVIDIA GPU: builds the program, compares kernels and networks with the CPU and with the
# recordings, and times Infinity-2B at one megapixel against PyTorch. Writes to OUT (default: cuda-check).
#
#   scripts/cuda-check.sh [OUT]
#
# Needs Rust, a C compiler and a CUDA toolkit (for the one from scripts/cuda-toolkit.sh, source its env.sh first). The timing
# also needs a Python with PyTorch, named by PYTHON; TIMED=no skips it. One megapixel at N = 4 needs a GPU with 80 GB.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-cuda-check}
python=${PYTHON:-python3}
mkdir -p "$out"
out=$(cd "$out" && pwd)

command -v nvidia-smi >/dev/null || { echo "no NVIDIA driver: this script is for a machine with a GPU" >&2; exit 1; }
nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv | tee "$out/gpu.csv"
if [ -z "${CUDA_COMPUTE_CAP:-}" ]; then
  CUDA_COMPUTE_CAP=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
  export CUDA_COMPUTE_CAP
fi

cargo build --release --features cuda
TTSVAR_GPU=required cargo test --release --features cuda --test cuda -- 2>&1 | tee "$out/checks.txt"

[ "${TIMED:-yes}" = yes ] || exit 0
big=(--device cuda --arch 2b --pixels 1M --dtype bf16)
target/release/ttsvar bench "${big[@]}" --method raw --repeat 3 | tee "$out/single.txt"
# The same with the tensor library alone, to show what the kernels of this project gain.
TTSVAR_KERNELS=portable target/release/ttsvar bench "${big[@]}" --method raw --repeat 3 | tee "$out/single-library.txt"

if ! "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())'; then
  echo "$python has no PyTorch that sees the GPU: nothing was compared" >&2
  exit 1
fi
against() { # NAME OPTION...
  local name=$1
  shift
  "$python" benches/against_torch.py "${big[@]}" --python "$python" --runs 3 --repeat 1 --json "$out/$name.json" "$@" |
    tee "$out/$name.md"
}
against single --loops single,ops --peer=--channels-last
for n in 1 2 4; do
  against "lean-$n" --loops lean --n "$n" --peer=--channels-last
  against "lean-$n-256" --loops lean --n "$n" --preview 256 --peer=--channels-last
done
against official --loops official
