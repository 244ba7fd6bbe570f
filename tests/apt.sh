#!/usr/bin/env bash
# Installs these Debian packages, as root with apt-get. Services in them are not started: whoever needs one starts its
# own, with its own files, on free ports.
set -euo pipefail

if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "Not installed, and only root can with apt-get: $*."
  exit 1
fi
echo "Installing $* ..."
export DEBIAN_FRONTEND=noninteractive
if [[ ! -e /usr/sbin/policy-rc.d ]]; then
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm /usr/sbin/policy-rc.d' EXIT
fi
if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends "$@"; } >/dev/null; then
  echo "apt-get could not install $*."
  exit 1
fi
