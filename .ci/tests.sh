#!/usr/bin/env bash
# All tests. Those in virtual time do not care how fast they run, so they take only the processor time that
# those with real processes leave over (SCHED_IDLE): together they need not much longer than the latter alone.
# Arguments go to both pytests.
set -uo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE # hundreds of processes start: compiled, as those that are installed are

simulated=$(mktemp)
trap 'kill "$pid" 2>/dev/null; wait; rm -f "$simulated"' EXIT
idle=()
chrt --idle 0 true 2>/dev/null && idle=(chrt --idle 0)
"${idle[@]}" .venv/bin/pytest tests/sim -n 2 --dist load "$@" >"$simulated" 2>&1 &
pid=$!
.venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/sim "$@"
real=$?
wait "$pid"
virtual=$?
echo "## tests/sim, which ran beside it"
cat "$simulated"
[ "$real" = 0 ] && [ "$virtual" = 0 ]
