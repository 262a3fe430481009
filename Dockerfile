# The server on processors, as a user without privileges:
#
#   docker build -t ttsvar .
#   docker run -p 127.0.0.1:8080:8080 -e TTSVAR_TOKEN=$(openssl rand -hex 16) -v ttsvar-jobs:/data ttsvar
#
# Weights of released models come as a volume: `-v ~/weights:/weights:ro` and, at the end of the command,
# `ttsvar serve --host 0.0.0.0 --folder /data --model infinity-2b --weights /weights`.
#
# For NVIDIA, build from an image with the CUDA toolkit, such as nvidia/cuda:13.0.0-devel-ubuntu24.04 with Rust installed, add
# `--features cuda` to `cargo build`, copy the program into the matching `-base` image, and run it with `--gpus all` and
# `--device cuda`.

FROM rust:1-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package ttsvar --bin ttsvar \
    && strip target/release/ttsvar

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 ttsvar \
    && install --directory --owner ttsvar /data
COPY --from=build /source/target/release/ttsvar /usr/local/bin/ttsvar
USER ttsvar
WORKDIR /data
VOLUME /data
EXPOSE 8080
COPY --chmod=755 scripts/healthy.sh /usr/local/bin/ttsvar-healthy
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["ttsvar-healthy"]
CMD ["ttsvar", "serve", "--host", "0.0.0.0", "--folder", "/data"]
