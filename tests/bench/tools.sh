#!/bin/sh
# tools.sh HTTP-PORT TCP-PORT: 50 HTTP, 50 TCP and 20 ICMP targets with curl, bash and ping, one after another, as the reference client does it.
set -eu
for _ in $(seq 50); do curl -s -o /dev/null "http://127.0.0.1:$1/"; done
for _ in $(seq 50); do bash -c "exec 3<>/dev/tcp/127.0.0.1/$2"; done
for _ in $(seq 20); do ping -q -c 4 127.0.0.1; done
