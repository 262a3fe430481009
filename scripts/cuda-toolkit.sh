#!/usr/bin/env bash
# Assembles a CUDA toolkit from published Python wheels, enough to build `--features cuda` on a machine that has neither a
# toolkit nor a GPU. It takes about 3 GB.
#
#   scripts/cuda-toolkit.sh DIR
#   source DIR/env.sh
#   cargo build --release --features cuda
#
# DIR/stubs contains a stub of libcuda for the linker. All of its functions report that there is no GPU. With DIR/stubs on
# LD_LIBRARY_PATH, the program can therefore start on a machine without a GPU. A machine with a GPU has its own libcuda: keep
# the stub off its library path.
set -euo pipefail

folder=${1:?usage: scripts/cuda-toolkit.sh DIR}
capability=${CUDA_COMPUTE_CAP:-90} # H100, H200
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
project=$(cd "$(dirname "$0")/.." && pwd)

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-deps \
  "nvidia-cuda-nvcc==13.0.*" "nvidia-cuda-runtime==13.0.*" "nvidia-cuda-cccl==13.0.*" "nvidia-cuda-crt==13.0.*" \
  "nvidia-nvvm==13.0.*" "nvidia-cuda-nvrtc==13.0.*" "nvidia-cuda-profiler-api==13.0.*" "nvidia-nvjitlink==13.0.*" \
  "nvidia-curand" "nvidia-cublas==13.1.*" "nvidia-cudnn-cu13"

packages=$(echo "$folder"/venv/lib/python3*/site-packages/nvidia)
home=$folder/cuda
rm -rf "$home" "$folder/stubs"
mkdir -p "$home/lib64" "$folder/stubs"
for part in bin include nvvm; do
  ln -s "$packages/cu13/$part" "$home/$part"
done
ln -s lib64 "$home/lib"
for library in "$packages"/*/lib/*.so* "$packages"/*/lib/*.a; do
  [ -e "$library" ] || continue
  name=$(basename "$library")
  ln -sf "$library" "$home/lib64/$name"
  [[ $name == *.so* ]] && ln -sf "$library" "$home/lib64/${name%%.so*}.so"
done

# The names of the driver's functions, taken from the bindings.
bindings=$(cd "$project" && cargo metadata --format-version 1 --features cuda |
  python3 -c 'import json, sys; print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"))')
grep -rhoE 'fn cu[A-Z][A-Za-z0-9_]*' "$(dirname "$bindings")/src/driver/sys" | sed 's/fn //' | sort -u |
  awk '{ print "int " $1 "(void) { return 100; }" }' >"$folder/stubs/cuda.c" # CUDA_ERROR_NO_DEVICE
cc -shared -fPIC -o "$folder/stubs/libcuda.so" "$folder/stubs/cuda.c" -Wl,-soname,libcuda.so.1
ln -s libcuda.so "$folder/stubs/libcuda.so.1"

cat >"$folder/env.sh" <<END
export CUDA_HOME=$home CUDA_PATH=$home CUDA_ROOT=$home NVCC=$home/bin/nvcc CUDA_COMPUTE_CAP=$capability
export PATH=$home/bin:\$PATH
export LIBRARY_PATH=$home/lib64:$folder/stubs\${LIBRARY_PATH:+:\$LIBRARY_PATH}
export LD_LIBRARY_PATH=$home/lib64\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
END
echo "source $folder/env.sh"
