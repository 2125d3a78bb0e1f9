#!/usr/bin/env bash
# MLDG on GTAV and SYNTHIA, as published.  Environment and further flags: tools/launch.sh
# shellcheck source=tools/launch.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../tools/launch.sh"
train --dataset gtav synthia --val_dataset cityscapes bdd100k mapillary --exp mldg \
    --arch network.deepv3plus.DeepR50V3PlusD --lr 0.01 --mldg --bs_mult 4 --gblur --color_aug 0.5 --inner_lr_anneal \
    --recipe published --max_iter 30463 "$@"
