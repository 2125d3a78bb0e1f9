#!/usr/bin/env bash
# On a machine with a GPU, from the repository's root, in one call: is it correct there, how fast is it, and as much of a
# study as the time allows.  docs/benchmarks.md explains the variables that can be set in the environment.
# A step that fails or takes too long is noted in $OUT/summary.txt, and the next one begins.
set -uo pipefail
OUT=${OUT:-on_gpu}
BUDGET=${BUDGET:-520}  # seconds for everything; the study gets what the rest leaves
PARTS=${PARTS:-correctness speed study}
REAL=${REAL:-../shared/realdata}  # real pictures and weights of benchmarks.generalise
ITERATIONS=${ITERATIONS:-1000}  # of a run of the study
TINY=${TINY:-}  # anything: a trial of this script on a CPU
python=${PYTHON:-python3}
for part in $PARTS; do
    case $part in
        correctness | speed | study) ;;
        *) echo "PARTS: $part: choose from correctness, speed and study" >&2; exit 2 ;;
    esac
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=${VENDOR:-vendor}${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 TQDM_DISABLE=1
mkdir -p "$OUT"
summary=$OUT/summary.txt failed=0

if [ "$TINY" ]; then
    iterations=6 network=(--device cpu --arch DeepR18V3PlusD) small=64 large=64
    precisions=(off) turns=(--repeats 1 --methods baseline pinmem)
    study=(demo recipes --seeds 0 --iterations 2 --workers 1)
else
    iterations=20 network=(--device cuda --arch DeepR50V3PlusD) small=192 large=768
    precisions=(bf16 tf32 off) turns=(--repeats 4)
    study=(mini-R50 recipes --seeds 0 1 --iterations "$ITERATIONS" --workers 3 --real "$REAL")
fi

note() { echo "$*" | tee -a "$summary"; }

# step NAME SECONDS LOG COMMAND...: run the command; its output goes to $OUT/LOG.log, its last lines to the summary.
step() {
    local name=$1 limit=$2 log=$OUT/$3.log start=$SECONDS before code=0
    shift 3
    if [ "$((BUDGET - SECONDS))" -lt "$limit" ]; then limit=$((BUDGET - SECONDS)); fi
    if [ "$limit" -lt 5 ]; then
        note "## $name: skipped, the time is over"
        if [ "$log" = "$OUT/correctness.log" ]; then failed=1; fi
        return
    fi
    printf '\n==== %s: %s\n' "$name" "$*" >> "$log"
    before=$(wc -l < "$log")
    timeout --kill-after=10 "$limit" "$@" >> "$log" 2>&1 || code=$?
    case $code in
        0) note "## $name: passed, $((SECONDS - start)) s" ;;
        124 | 137)
            note "## $name: STOPPED after $((SECONDS - start)) s"
            if [ "$log" = "$OUT/correctness.log" ]; then failed=1; fi  # the others give what they have until then
            ;;
        *) note "## $name: FAILED with code $code, $((SECONDS - start)) s"; failed=1 ;;
    esac
    tail -n "+$((before + 1))" "$log" | tail -n 8 | cut -c1-200 | tee -a "$summary"
}

describe_machine() {
    note "## machine, $(date -u '+%F %T') UTC"
    command -v nvidia-smi >/dev/null && timeout 20 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1 | tee -a "$summary"
    "$python" -c '
import torch
from benchmarks.frame import Options, machine
print(machine(Options()), "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())' 2>&1 |
        tail -n 1 | tee -a "$summary"
    local missing
    missing=$("$python" tools/requirements.py 2>&1; "$python" -c 'import pytest' 2>&1 | tail -n 1)
    if [ "$missing" ]; then note "missing packages: ${missing//$'\n'/, } (VENDOR=FOLDER may hold them)"; fi
}

correctness() {
    if [ "$TINY" ]; then
        note "## tests: skipped, there is no GPU in a trial"
    else
        step tests 90 correctness "$python" -m pytest -rP -m "gpu and not slow" tests/test_gpu.py -p no:cacheprovider
    fi
    step gradients 75 correctness "$python" -m benchmarks.gpu_checks gradients "${network[@]}" --crop "$large"
    step runs 75 correctness "$python" -m benchmarks.gpu_checks runs "${network[@]}" --crop "$small" \
        --iterations "$iterations" --work "$work/runs"
}

speed() {
    local amp limit=90
    for amp in "${precisions[@]}"; do
        step "step, $amp" "$limit" speed "$python" -m benchmarks.step "${network[@]}" --crop "$large" "${turns[@]}" \
            --amp "$amp" --json "$OUT/step_$amp.json"
        turns+=(--methods baseline pinmem) limit=45  # in the first precision all methods
    done
}

study() {
    if [ -z "$TINY" ] && [ ! -d "$REAL/weights" ]; then
        note "## study: skipped, no real pictures in $REAL (REAL=FOLDER)"
        return
    fi
    step study "$((BUDGET - SECONDS - 30))" study "$python" -m benchmarks.generalise "${study[@]}" --results "$OUT/study.jsonl" \
        --work "${WORK:-$work}"
    if [ -s "$OUT/study.jsonl" ]; then
        step "table of the study" 30 study "$python" -m benchmarks.study_table "$OUT/study.jsonl"
    fi
}

describe_machine
for part in $PARTS; do
    case $part in
        correctness) correctness ;;
        speed) speed ;;
        study) study ;;
    esac
done
note "## end after $SECONDS s"
exit "$failed"
