#!/usr/bin/env bash
# Compiles every kernel in src/nn/cuda as the program does at run time, for every type and head width in use. Assembles each
# for one GPU architecture and prints the registers per thread, shared memory and spills. Needs no GPU. Fails if a kernel does
# not compile or spills registers.
#
#   scripts/cuda-toolkit.sh DIR && source DIR/env.sh
#   scripts/cuda-kernels.sh [sm_90]
set -euo pipefail

generation=${1:-sm_90} # H100, H200
: "${CUDA_HOME:?source the env.sh of scripts/cuda-toolkit.sh first}"
cd "$(dirname "$0")/../src/nn/cuda"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The value of a constant in calls.rs.
constant() { sed -n "s/^const $1: usize = \(1 << \)\{0,1\}\([0-9]*\);.*/\1\2/p" calls.rs; }
threads=$(($(constant THREADS))) attending=$(($(constant ATTENDING))) slice=$(($(constant SLICE)))

# compile FILE OPTION...: compiles with NVRTC, without any include path.
compile() {
  local file=$1 name
  shift
  name="$file $*"
  cat device.cuh values.cuh "$file.cu" >"$work/$file.cu"
  python3 - "$work/$file" "$CUDA_HOME/lib64/libnvrtc.so" "--gpu-architecture=compute_${generation#sm_}" "$@" <<'END'
import ctypes, sys
path, library, *options = sys.argv[1:]
nvrtc, program, size = ctypes.CDLL(library), ctypes.c_void_p(), ctypes.c_size_t()
source = open(path + ".cu", "rb").read()
assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernel.cu", 0, None, None) == 0
result = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*map(str.encode, options)))
nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
log = ctypes.create_string_buffer(size.value)
nvrtc.nvrtcGetProgramLog(program, log)
sys.stderr.write(log.value.decode())
if result:
    sys.exit(f"{path}: not compiled")
nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
ptx = ctypes.create_string_buffer(size.value)
nvrtc.nvrtcGetPTX(program, ptx)
open(path + ".ptx", "wb").write(ptx.value)
END
  ptxas -v -arch="$generation" "$work/$file.ptx" -o "$work/$file.cubin" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
  awk -v name="$name" '
    /Compiling entry function/ { split($0, part, "\047"); kernel = part[2] }
    /spill stores/ { spilled = $5 + $9 }
    /Used [0-9]+ registers/ {
      match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
      shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH - 11) : 0
      printf "%-17s %3d registers %6d bytes shared %d spilled   %s\n", kernel, registers, shared, spilled, name
      bad = bad || spilled > 0
    }
    END { exit bad }' "$work/log"
}

for bf16 in 0 1; do
  for file in normalise residual rotate; do
    compile "$file" "-DBF16=$bf16" "-DTHREADS=$threads"
  done
  compile group_norm "-DBF16=$bf16" "-DTHREADS=$threads" "-DSLICE=$slice"
done
# Head widths: 96 and 128 in the released sizes, smaller in the recordings and the demo, 64 and 80 in scorers.
for width in 16 32 64 80 96 128; do
  compile attention_f32 -DBF16=0 "-DTHREADS=$attending" "-DWIDTH=$width"
  compile attention_bf16 -DBF16=1 "-DTHREADS=$attending" "-DWIDTH=$width"
done
