#!/usr/bin/env bash
# From nothing to a result, without data and without a GPU: sets up, draws demo domains, trains the baseline and Pin the
# Memory on two of them, evaluates both on all six, and puts the numbers side by side.
# ITERATIONS, OUT and DEVICE can be set in the environment.
set -euo pipefail
OUT=${OUT:+$(mkdir -p "$OUT" && cd "$OUT" && pwd)}
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/setup.sh
setup_python

OUT=${OUT:-quickstart}
ITERATIONS=${ITERATIONS:-700}
DEVICE=${DEVICE:-auto}
export DG_SEG_DATASET=$OUT/data
sources=(gtav synthia)
unseen=(idd cityscapes bdd100k mapillary)  # whose training images nobody reads here: half of the drawing
domains=("${sources[@]}" "${unseen[@]}")

"$PYTHON" -m datasets.demo "$DG_SEG_DATASET" --size 160 320 --domains "${sources[@]}" --val_only "${unseen[@]}"

# Flags shared by both methods: a small network from random weights, the schedule fitted to the short run.
common=(--dataset "${sources[@]}" --val_dataset cityscapes --arch network.deepv3plus.DeepR18V3PlusD
    --pretrained_backbone none --output_stride 16 --crop_size 128 --scale_min 0.75 --scale_max 1.5 --bs_mult 3
    --color_aug 0.5 --lr 0.05 --max_iter "$ITERATIONS" --val_interval "$ITERATIONS" --val_images 4 --device "$DEVICE")

# train_and_evaluate NAME FLAGS...: train, or go on if that was stopped, then evaluate on every domain.
train_and_evaluate() {
    local name=$1 runs=$OUT/runs/$1_$ITERATIONS run
    shift
    "$PYTHON" train.py "${common[@]}" --exp_root "$OUT/runs" --exp "${runs##*/}" --resume auto "$@"
    run=$(find "$runs" -name last.pth | sort | tail -n 1)
    rm -rf "${OUT:?}/$name"
    "$PYTHON" eval.py --snapshot "$run" --dataset "${domains[@]}" --mapillary_crop 0 --dump_images --device "$DEVICE" \
        --out "$OUT/$name" > "$OUT/$name.txt"
}

train_and_evaluate baseline
train_and_evaluate pinmem --mldg --memory --inner_lr_anneal

results=("baseline=$OUT/baseline" "PinMem=$OUT/pinmem")
"$PYTHON" -m tools.compare "${results[@]}" --out "$OUT/comparison.md"
"$PYTHON" -m tools.visualise "$OUT/pictures.jpg" --dataset "${domains[@]}" --results "${results[@]}"
echo
echo "The tables: $OUT/comparison.md; class by class: $OUT/baseline.txt, $OUT/pinmem.txt"
echo "A sheet of pictures: $OUT/pictures.jpg"
echo "All pictures: $OUT/pinmem/<domain>_val/{colours,overlay,errors}; the same below $OUT/baseline"
