#!/usr/bin/env bash
# Features and memory items of Pin the Memory by t-SNE.  Environment and further flags: tools/launch.sh
# shellcheck source=tools/launch.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../tools/launch.sh"
ablate gta_synthia_DR50V3P/ours/pinmem_GS_DR50V3P.pth --dataset gtav synthia cityscapes bdd100k \
    --source_domain gtav synthia --arch network.deepv3plus.DeepR50V3PlusD --memory --tsne --recipe published "$@"
