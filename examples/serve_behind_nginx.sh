#!/usr/bin/env bash
# Starts `ttsvar serve` behind nginx, generates an image through it, and stops both. Usage:
#
#     TTSVAR_TOKEN=$(openssl rand -hex 16) ./serve_behind_nginx.sh FOLDER
set -euo pipefail
folder=${1:?a folder for jobs and the temporary files of nginx}
conf=$(cd "$(dirname "$0")" && pwd)/nginx.conf
mkdir -p "$folder"

# The server reads TTSVAR_TOKEN. It listens on this machine only; nginx is what others reach.
"${TTSVAR_BIN:-ttsvar}" serve --port 8091 --folder "$folder/jobs" >"$folder/server.log" 2>&1 &
server=$!
nginx -p "$folder" -c "$conf" -g 'daemon off;' 2>"$folder/nginx.log" &
proxy=$!
trap 'kill $server $proxy' EXIT

address=http://127.0.0.1:8090/images
for _ in $(seq 100); do
  curl --silent --fail --output /dev/null "$address/healthz" && break
  kill -0 "$server" || { cat "$folder/server.log" && exit 1; }
  sleep 0.1
done

request='{"prompt": "a blue star", "seed": 7, "search": {"method": "raw"}}'
generate() {
  curl --silent --header 'Content-Type: application/json' --data "$request" "$@" "$address/v1/images/generations"
}
echo "without a token: $(generate --output /dev/null --write-out '%{http_code}')"
generate --fail --header "Authorization: Bearer $TTSVAR_TOKEN" --output "$folder/answer.json"
python3 - "$folder" <<'PYTHON'
import base64, json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
image = json.loads((folder / "answer.json").read_text())["data"][0]
(folder / "star.png").write_bytes(base64.b64decode(image["b64_json"]))
print(f"with the token: star.png, score {image['score']:.3f}")
PYTHON
