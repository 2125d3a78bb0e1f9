#!/usr/bin/env bash
# Pin the Memory on GTAV and SYNTHIA, DeepLabV2, as published.  Environment and further flags: tools/launch.sh
# shellcheck source=tools/launch.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../tools/launch.sh"
train --dataset gtav synthia --val_dataset cityscapes bdd100k mapillary --exp pinmem \
    --arch network.deepv2.DeepR101V2D --lr 0.01 --mldg --memory --bs_mult 4 --gblur --color_aug 0.5 \
    --mem_readloss 0.02 --mem_divloss 0.4 --mem_clsloss 0.2 --mem_momentum 0.8 --inner_lr_anneal \
    --recipe published --max_iter 70585 "$@"
