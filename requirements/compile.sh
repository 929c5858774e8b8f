#!/usr/bin/env bash
# Compiles every requirements/*.in to the pinned *.txt beside it; `make requirements` calls it.
# The .txt are whole closures for Python 3.11 to 3.14 on every platform, so they are installed with
# --no-deps. No address of an index is written. Pass --upgrade to take newer releases.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-uv}
compile() { # NAME [option…]
  local name=$1; shift
  "$uv" pip compile --quiet --universal --python-version 3.11 \
    --no-header --no-emit-index-url --no-emit-find-links --no-emit-package aixgo \
    --annotation-style line --excludes requirements/excludes.txt \
    "$@" "requirements/$name.in" --output-file "requirements/$name.txt" >/dev/null
  # who asked for a pin is worth reading; that dev.txt constrains it and what was left out is not
  sed -i.bak -e 's/, -c requirements\/dev\.txt$//' -e 's/-c requirements\/dev\.txt, //' -e '/^$/d' -e '/^#/d' "requirements/$name.txt"
  rm "requirements/$name.txt.bak"
}
compile dev "$@"
# dev.txt is the union: the others take its versions, so that one environment can serve all of them.
for name in build demo service llm; do
  compile "$name" --constraint requirements/dev.txt
done
