#!/usr/bin/env bash
# Says by its exit code whether a server on this machine answers, for containers without an HTTP client. The port is the
# first argument, 8080 by default.
set -euo pipefail
port=${1:-8080}
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r answer <&3
[[ $answer == *" 200 "* ]]
