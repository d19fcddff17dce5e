#!/usr/bin/env bash
# Tests, benchmarks and a minute of training on a GPU, within 8 minutes; without a GPU the same on the CPU, as small as
# possible. In the folder OUT it leaves a log of each stage, tables, the run, and summary.txt. The status is 1 if a stage
# failed.
#
#   OUT=folder [CHECKPOINT=RUN/checkpoints/last.ckpt] [PYTHON=python3] tools/gpu_check.sh [OPTIONS OF emorl fit]
#
# The training is on new Tetrominoes. It resumes CHECKPOINT with the config.yaml of its run, which is not changed, or
# starts with tetrominoes-fast.
set -uo pipefail

fail() {
    echo "gpu_check.sh: error: $1" >&2
    exit 2
}

[ -n "${OUT:-}" ] || fail "expected OUT, a folder for logs and tables, got none; run OUT=gpu_check $0"
mkdir -p "$OUT" 2>/dev/null && [ -w "$OUT" ] && [ -z "$(ls -A "$OUT")" ] ||
    fail "OUT: expected an empty or new folder that can be written to, got $OUT; choose another"
OUT=$(realpath "$OUT")
recipe=(--config=tetrominoes-fast --config=demo)
if [ -n "${CHECKPOINT:-}" ]; then
    config=$(dirname "$(dirname "$CHECKPOINT")")/config.yaml
    for file in "$CHECKPOINT" "$config"; do
        [ -f "$file" ] ||
            fail "CHECKPOINT: expected RUN/checkpoints/NAME.ckpt and RUN/config.yaml, got no $file; give one of a run"
    done
    recipe=(--config="$(realpath "$config")" --ckpt_path="$(realpath "$CHECKPOINT")")
fi
cd "$(dirname "$0")/.." || exit 2
[ -x .venv/bin/python ] && PYTHON=${PYTHON:-.venv/bin/python}
PYTHON=${PYTHON:-python3}
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH}

device=$("$PYTHON" -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")') ||
    fail "PYTHON: expected a Python with torch, got $PYTHON; run make setup"
export EMORL_TEST_DEVICE=$device
if [ "$device" = cuda ]; then
    export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0} # which tests hide otherwise
    engine=(--steps=3)
    models=()
    seconds=75 # the start included
else
    engine=(--case=tetrominoes --batch=1 --steps=1 --rounds=1)
    models=(--sizes='[16]' --batch=1 --rounds=1)
    seconds=45
fi

status=0
stage() { # NAME SECONDS ARGUMENTS..: run Python with a limit; the log is NAME.log, and the summary gets a line
    local name=$1 limit=$2 start=$SECONDS code
    shift 2
    timeout --kill-after=10 "$limit" "$PYTHON" "$@" >"$OUT/$name.log" 2>&1
    code=$?
    [ "$name $code" = 'training 124' ] && code=0 # ended by its limit, after it has saved
    [ $code -eq 0 ] || status=1
    printf '%-10s %6d %7d\n' "$name" $code $((SECONDS - start)) | tee -a "$OUT/summary.txt"
}

{ nvidia-smi || lscpu; } >"$OUT/machine.log" 2>&1
printf 'device: %s\n%-10s %6s %7s\n' "$device" stage status seconds | tee "$OUT/summary.txt"
stage versions 30 -c 'import emorl, torch; print("emorl", emorl.__version__); print("torch", torch.__version__)'
stage tests 80 -m pytest -m cuda -p no:cacheprovider --durations=0 tests/test_cuda.py
stage engine 120 -m benchmarks engine --device="$device" --json="$OUT/engine.json" "${engine[@]}"
stage models 85 -m benchmarks models --device="$device" --json="$OUT/models.json" --figure="$OUT/models.png" "${models[@]}"
stage data 25 -c 'from emorl.data.cli import main; raise SystemExit(main())' \
    generate tetrominoes "$OUT/data" --train=2000 --val=32 --test=0
stage training "$seconds" -m emorl fit "${recipe[@]}" --data.root="$OUT/data" \
    --trainer.accelerator=auto --trainer.max_time=null \
    --trainer.logger=emorl.loggers.AppendingCSVLogger --trainer.logger.save_dir="$OUT" --trainer.logger.version=run "$@"
awk '/ s a step at / { printf "training: %.3g steps a second; %s\n", 1 / $1, $0; found = 1 } END { exit !found }' \
    "$OUT/training.log" | tee -a "$OUT/summary.txt" || status=1
exit $status
