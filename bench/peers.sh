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
  if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    echo "Installing ${missing[*]} ..."
    export DEBIAN_FRONTEND=noninteractive
    # Their services are not to start: the bench starts its own, with its own files, on free ports.
    [[ -e /usr/sbin/policy-rc.d ]] || {
      printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
      chmod +x /usr/sbin/policy-rc.d
      trap 'rm /usr/sbin/policy-rc.d' EXIT
    }
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}"; } >/dev/null ||
      echo "apt-get could not install ${missing[*]}: the rows skip them."
  else
    echo "Not installed, and only root can with apt-get: ${missing[*]}. The rows skip them."
  fi
fi
