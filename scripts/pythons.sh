#!/usr/bin/env bash
# Installs dream-agents on each Python with both sets of versions, and runs fast tests there.
#
#     scripts/pythons.sh                 # 3.10 to 3.14
#     scripts/pythons.sh 3.13 3.14       # some of them
#     TESTS="tests/wrappers" scripts/pythons.sh 3.12
#
# An interpreter is looked for as `python3.N`, pyenv's, then through `uv python find`; one that is not there is said so, and
# the script ends with 1.
set -uo pipefail
cd "$(dirname "$0")/.."
versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(3.10 3.11 3.12 3.13 3.14)
tests=${TESTS:-tests/registry tests/planners tests/wrappers/test_dmcontrol.py tests/wrappers/test_make_env.py}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

interpreter() {
  local candidate
  for candidate in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python; do
    "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null && { echo "$candidate"; return; }
  done
  command -v uv >/dev/null && uv python find "$1" 2>/dev/null
}

# try VERSION PYTHON CONSTRAINTS EXTRAS
try() {
  local venv=$scratch/$1-$3 log=$scratch/$1-$3.log
  if "$2" -m venv "$venv" >"$log" 2>&1 &&
    "$venv/bin/pip" install -q -c "$3" -e ".[$4]" >>"$log" 2>&1 &&
    "$venv/bin/dream-agents" setup >>"$log" 2>&1 &&
    "$venv/bin/pip" check >>"$log" 2>&1 &&
    "$venv/bin/python" -m pytest -q $tests </dev/null >>"$log" 2>&1; then
    echo "$1 $3: $(tail -n 1 "$log")"
  else
    echo "$1 $3: FAILED"; tail -n 25 "$log"; failed=1
  fi
  rm -rf "$venv"
}

for version in "${versions[@]}"; do
  python=$(interpreter "$version")
  if [ -z "$python" ]; then
    echo "$version: no interpreter found"; failed=1
    continue
  fi
  try "$version" "$python" constraints-newest.txt test
  [ "$version" = 3.14 ] || try "$version" "$python" constraints.txt metaworld,test
done
exit $failed
