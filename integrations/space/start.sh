#!/usr/bin/env bash
# Starts `ttsvar serve` and nginx in front of it, and ends when one of them does.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
data=${TTSVAR_DATA:-/data}
port=${PORT:-7860}
inner=${TTSVAR_INNER_PORT:-8080}
program=${TTSVAR_BIN:-ttsvar}
model=${TTSVAR_MODEL:-demo}
# Flags are words without quotes.
read -ra flags <<<"${TTSVAR_FLAGS:-}"

if [ "$model" != demo ]; then
  flags+=(--weights "$data/weights")
  "$program" models fetch "$model" --weights "$data/weights"
fi

mkdir -p "$data/nginx"
sed -e "s/listen 7860;/listen $port;/" -e "s/127.0.0.1:8080/127.0.0.1:$inner/" "$here/nginx.conf" >"$data/nginx/nginx.conf"

# Without --quiet, the log has the prompts of visitors.
"$program" serve --quiet --port "$inner" --folder "$data/jobs" --model "$model" --queue 8 --max-seconds 60 "${flags[@]}" &
server=$!
nginx -p "$data/nginx" -c "$data/nginx/nginx.conf" -g 'daemon off;' &
proxy=$!
trap 'kill "$server" "$proxy" 2>/dev/null || true' EXIT
trap 'exit 0' TERM INT
wait -n
