#!/usr/bin/env bash
# Installs the servers that `make bench` measures besides ours: NATS and python-socketio from PyPI, pinned, into the
# virtual environment; the others from Debian, as root with apt-get. What is missing is skipped by name in the tables.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}

"$python" -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r requirements-bench.lock ||
  echo "pip could not install NATS and python-socketio: they are skipped."

PATH=$PATH:/usr/sbin
missing=()
for program in mosquitto:mosquitto redis-server:redis-server nginx:nginx haproxy:haproxy cc:gcc; do
  command -v "${program%:*}" >/dev/null || missing+=("${program#*:}")
done

[[ -e /usr/lib/nginx/modules/ngx_nchan_module.so ]] || missing+=(libnginx-mod-nchan)
[[ -e /usr/include/openssl/ssl.h ]] || missing+=(libssl-dev) # for the load generator

if ((${#missing[@]})); then
  bash tests/apt.sh "${missing[@]}" || echo "The rows skip them."
fi
