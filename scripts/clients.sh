#!/bin/bash
# Installs the clients that the tests use and that are no Debian packages, from PyPI into target/clients.
#
# Usage: clients.sh
# Which, and in which versions, is in tests/clients/requirements.txt. With these installed it does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=tests/clients/requirements.txt
into=${CARGO_TARGET_DIR:-target}/clients
if cmp -s "$wanted" "$into/installed"; then
    exit 0
fi
scripts/deps.sh python
echo "installing from PyPI: $(grep -v '^#' "$wanted" | tr '\n' ' ')"
rm -rf "$into"
/usr/bin/python3 -m venv "$into"
"$into/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
cp "$wanted" "$into/installed"
