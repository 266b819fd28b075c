#!/usr/bin/env bash
# Tests and measures the CUDA paths with nothing but this checkout and the machine's PyTorch; ends within 8 minutes.
#   benchmarks/gpu.sh                     # writes gpu.md, gpu.json, log.txt, trace.json.gz to $OUT, or to gpu-out
#   benchmarks/gpu.sh --seconds 120 --parts networks,memory
#   benchmarks/gpu.sh --tiny              # seconds on a CPU: shows that the script itself works
# Packages that the machine lacks can be brought as wheels of pure Python in benchmarks/wheels (or WHEELS=FOLDER); nothing
# is installed or downloaded. PYTHON=... chooses the interpreter.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

python=""
candidates=("$here/../.venv/bin/python" python3 python /opt/*/.venv/bin/python /opt/*/bin/python)
[ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
for each in "${candidates[@]}"; do # the first that sees a GPU, else the first that has torch
    command -v "$each" >/dev/null || continue
    found="$("$each" -c 'import torch; print(torch.cuda.is_available())' 2>/dev/null)" || continue
    [ -n "$python" ] || python="$each"
    if [ "$found" = True ]; then python="$each"; break; fi
done
if [ -z "$python" ]; then
    echo "gpu.sh: no Python with torch among ${candidates[*]}; name one with PYTHON=/path/to/python." >&2
    exit 2
fi

export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
wheels="${WHEELS:-$here/wheels}"
if compgen -G "$wheels/*.whl" >/dev/null; then
    unpacked="$(mktemp -d)"
    trap 'rm -rf "$unpacked"' EXIT
    for wheel in "$wheels"/*.whl; do "$python" -m zipfile -e "$wheel" "$unpacked"; done
    export PYTHONPATH="$PYTHONPATH:$unpacked"
fi
# On SIGTERM the table of what was done so far is written. SECONDS: to import torch for the first time takes its time, too.
timeout --kill-after=10 $((465 - SECONDS)) "$python" "$here/gpu" "$@"
