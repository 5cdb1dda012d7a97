#!/usr/bin/env bash
# The rows of the benchmark table, one after the other, each in some minutes: some 30 in all on two otherwise idle cores.
#
#   benchmarks/all.sh RESULTS [NAME…]
#
# RESULTS gets NAME.json (one line) and NAME.txt (the table) of each; with names, only those are run. PCam is looked for
# where precision.py says; without it that row is missing, and the end says so.
set -u
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
results=${1:?"usage: benchmarks/all.sh RESULTS [NAME…]"}
shift
mkdir -p "$results"
wanted=" $* "
failed=""

row() {
    local name=$1
    shift
    if [ "$wanted" != "  " ] && [[ "$wanted" != *" $name "* ]]; then return; fi
    echo "== $name: $*" >&2
    local began=$SECONDS
    if ! "$python" "$here/$1" "${@:2}" > "$results/$name.json.part" 2> "$results/$name.txt"; then
        failed="$failed $name"
        tail -n 5 "$results/$name.txt" >&2
        return
    fi
    tail -n 1 "$results/$name.json.part" > "$results/$name.json"
    rm "$results/$name.json.part"
    tail -n 16 "$results/$name.txt" >&2
    echo "== $name took $((SECONDS - began)) s" >&2
}

# Environments and images first, so that nothing is installed or drawn while something is timed.
"$python" "$here/environments.py" > /dev/null || exit 1
row training_step training_step.py --rounds 5 --steps 20
row profile_step training_step.py --profile bf16
row epoch epoch.py --rounds 5 --images 1600
row epoch_passive epoch.py --rounds 3 --images 960 --wait passive
row epoch_long epoch.py --rounds 3 --images 960 --wait long
row profile_epoch epoch.py --profile bf16
row augment augment.py --rounds 5
row startup startup.py --rounds 7
row growth growth.py --figure
row against_loops against_loops.py --images 600 --rounds 5
row precision precision.py --seeds 3 --epochs 8 --images 6000
row prediction prediction.py --images 1024
row stain stain.py --rounds 5
row slides slides.py --rounds 7
row against_notebook against_notebook.py --images 500 --epochs 10

if [ -n "$failed" ]; then
    echo "these did not end well:$failed; see their .txt" >&2
    exit 1
fi
