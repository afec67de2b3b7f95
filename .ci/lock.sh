#!/usr/bin/env bash
# Writes the lock files anew from pyproject.toml. Hashes, no index addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$(mktemp -d); trap 'rm -rf "$tool"' EXIT
python3 -m venv "$tool/venv"; "$tool/venv/bin/pip" install -q pip-tools
compile() {
  CUSTOM_COMPILE_COMMAND="make lock" "$tool/venv/bin/pip-compile" -q --generate-hashes --no-emit-index-url --no-emit-trusted-host \
    --no-emit-find-links --no-emit-options --strip-extras --allow-unsafe "$@"
}
echo "setuptools>=77" >"$tool/build.in"
compile --extra postgres -o requirements.lock pyproject.toml "$tool/build.in"
compile --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
compile --extra fuzz -c requirements.lock -c requirements-dev.lock -o requirements-fuzz.lock pyproject.toml
echo "libvirt-python>=9.0" >"$tool/libvirt.in"
compile -o requirements-libvirt.lock "$tool/libvirt.in"
printf "python-openstackclient\nosc-placement\n" >"$tool/clients.in"
compile -o tests/clients/requirements.lock "$tool/clients.in"
echo "nova" >"$tool/nova.in"
compile -o requirements-nova.lock "$tool/nova.in"
sed -i -E "s#$tool/##" requirements*.lock tests/clients/requirements.lock
