#!/usr/bin/env bash
# Installs the programs that the end-to-end tests run as real clients: curl, Node.js with the hyco modules, Chromium, Java
# with the WebSocket library of Azure's SDK, Mono with its WCF; and the proxies of docs/proxies.
# As root with apt-get what is missing is installed; otherwise its tests are skipped, each saying why.
set -euo pipefail
cd "$(dirname "$0")/node"

missing=()
programs=(curl:curl node:nodejs npm:npm chromium:chromium java:default-jdk-headless mvn:maven)
programs+=(nginx:nginx-light haproxy:haproxy caddy:caddy)
for program in "${programs[@]}" mono:mono-runtime mcs:mono-mcs; do
  command -v "${program%:*}" >/dev/null || missing+=("${program#*:}")
done
[[ -e /usr/lib/mono/4.5/System.ServiceModel.dll ]] || missing+=(libmono-system-servicemodel4.0a-cil)

if ((${#missing[@]})); then
  bash ../apt.sh "${missing[@]}" || echo "The tests that need them are skipped."
fi

if command -v npm >/dev/null && ! [[ node_modules/.package-lock.json -nt package-lock.json ]]; then
  echo "Installing the Node modules ..."
  npm ci --silent || echo "npm could not install the Node modules: the tests that need them are skipped."
fi

if command -v mvn >/dev/null; then
  for folder in ../java ../java/sdk; do
    if ! [[ $folder/target/lib -nt $folder/pom.xml ]]; then
      echo "Installing the Java libraries of tests/${folder#../} ..."
      (cd "$folder" && mvn -q -B process-classes) >/dev/null 2>&1 ||
        echo "Maven could not install them: the tests that need them are skipped."
    fi
  done
fi
