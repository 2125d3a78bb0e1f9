#!/usr/bin/env bash
# From nothing to a result, without data and without a GPU: sets up, draws demo domains, trains the baseline, Pin the Memory
# as published and Pin the Memory tuned on two of them, evaluates all on all six, and puts the numbers side by side.
# OUT, ITERATIONS, SEED, WEIGHTS and DEVICE can be set in the environment.
set -euo pipefail
OUT=${OUT:+$(mkdir -p "$OUT" && cd "$OUT" && pwd)}
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/setup.sh
setup_python

OUT=${OUT:-quickstart}
ITERATIONS=${ITERATIONS:-300}
SEED=${SEED:-0}
DEVICE=${DEVICE:-auto}
export DG_SEG_DATASET=$OUT/data
sources=(gtav synthia)
unseen=(idd cityscapes bdd100k mapillary)  # whose training images nobody reads here: half of the drawing
domains=("${sources[@]}" "${unseen[@]}")

if [ -z "${WEIGHTS:-}" ]; then
    WEIGHTS=none
    if "$PYTHON" -c 'from network.pretrained import pretrained_weights; pretrained_weights("imagenet", "resnet18")' >/dev/null 2>&1; then
        WEIGHTS=imagenet
    fi
fi
rate=0.01
case $WEIGHTS in
    none) rate=0.05 && echo "The networks start from random weights: ImageNet weights cannot be downloaded here." ;;
    *) echo "The networks start from weights for ImageNet ($WEIGHTS)." ;;
esac

"$PYTHON" -m datasets.demo "$DG_SEG_DATASET" --size 128 256 --domains "${sources[@]}" --val_only "${unseen[@]}"

# Flags shared by all methods: a small network, the schedule fitted to the short run.
common=(--dataset "${sources[@]}" --val_dataset cityscapes --arch network.deepv3plus.DeepR18V3PlusD
    --pretrained_backbone "$WEIGHTS" --lr "$rate" --output_stride 16 --decoder_dim 64 --crop_size 96 --scale_min 0.75
    --scale_max 1.5 --bs_mult 3 --gblur --color_aug 0.5 --lr_schedule poly --mem_init_batches 10 --seed "$SEED"
    --val_images 4 --device "$DEVICE")

# The time of a few iterations, so that the user knows how long all takes.
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
if ! "$PYTHON" train.py "${common[@]}" --max_iter 12 --log_interval 6 --exp_root "$trial" > "$trial/log" 2>&1; then
    tail -n 3 "$trial/log" >&2
    exit 2
fi
"$PYTHON" - "$trial" "$ITERATIONS" <<'END'
import datetime, json, pathlib, sys
rows = map(json.loads, next(pathlib.Path(sys.argv[1]).rglob("metrics.jsonl")).read_text().splitlines())
pace = [row for row in rows if row["kind"] == "pace"][-1]["seconds"]
seconds = 6 * int(sys.argv[2]) * pace  # 1 for the baseline, 1.6 and 2.2 for Pin the Memory, 1.2 for evaluation
end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
print(f"{pace:.2f} s per iteration of the baseline: all takes about {seconds / 60:.0f} minutes, until {end:%H:%M}")
END

# train_and_evaluate NAME FLAGS...: train, or go on if that was stopped, then evaluate on every domain.
train_and_evaluate() {
    local name=$1 runs=$OUT/runs/$1_${ITERATIONS}_$SEED run
    shift
    "$PYTHON" train.py "${common[@]}" --max_iter "$ITERATIONS" --val_interval "$ITERATIONS" --exp_root "$OUT/runs" \
        --exp "${runs##*/}" --resume auto "$@"
    run=$(find "$runs" -name last.pth | sort | tail -n 1)
    rm -rf "${OUT:?}/$name"
    "$PYTHON" eval.py --snapshot "$run" --dataset "${domains[@]}" --mapillary_crop 0 --dump_images --device "$DEVICE" \
        --out "$OUT/$name" > "$OUT/$name.txt"
}

train_and_evaluate baseline
train_and_evaluate published --mldg --memory --inner_lr_anneal --recipe published
train_and_evaluate tuned --mldg --memory --inner_lr_anneal --recipe tuned

results=("baseline=$OUT/baseline" "PinMem published=$OUT/published" "PinMem tuned=$OUT/tuned")
"$PYTHON" -m tools.compare "${results[@]}" --out "$OUT/comparison.md"
"$PYTHON" -m tools.visualise "$OUT/pictures.jpg" --dataset "${domains[@]}" --results "${results[@]}"
echo
echo "The tables: $OUT/comparison.md; class by class: $OUT/{baseline,published,tuned}.txt"
echo "What three seeds gave, for comparison: docs/quickstart.md"
echo "A sheet of pictures: $OUT/pictures.jpg"
echo "All pictures: $OUT/tuned/<domain>_val/{colours,overlay,errors}; the same below $OUT/baseline and $OUT/published"
