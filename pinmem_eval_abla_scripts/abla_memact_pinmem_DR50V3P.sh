#!/usr/bin/env bash
# Where Pin the Memory reads its memory, image by image.  Environment and further flags: tools/launch.sh
# shellcheck source=tools/launch.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../tools/launch.sh"
ablate gta_synthia_DR50V3P/ours/pinmem_GS_DR50V3P.pth --dataset cityscapes bdd100k mapillary \
    --source_domain cityscapes --arch network.deepv3plus.DeepR50V3PlusD --memory --gumbel_off --mem_actmap \
    --recipe published "$@"
