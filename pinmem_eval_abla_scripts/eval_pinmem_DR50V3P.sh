#!/usr/bin/env bash
# Pin the Memory on Cityscapes: windows, with flip.  Environment and further flags: tools/launch.sh
# shellcheck source=tools/launch.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../tools/launch.sh"
evaluate gta_synthia_DR50V3P/ours/pinmem_GS_DR50V3P.pth --dataset cityscapes --inference_mode sliding \
    --scales 1.0 --split val --crop_size 768 --dump_images --exp pinmem \
    --arch network.deepv3plus.DeepR50V3PlusD --memory --recipe published "$@"
