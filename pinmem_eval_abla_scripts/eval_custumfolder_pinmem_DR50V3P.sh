#!/usr/bin/env bash
# Colours every image of a folder: eval_custumfolder_pinmem_DR50V3P.sh FOLDER [FLAGS].  Environment: tools/launch.sh
# shellcheck source=tools/launch.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../tools/launch.sh"
[ -d "${1:-}" ] || fail "usage: ${0##*/} FOLDER [FLAGS]; FOLDER holds the images${1:+; \"$1\" is no folder}"
folder=$1 && shift
evaluate gta_synthia_idd_DR50V3P/ours/pinmem_GSI_DR50V3P.pth --dataset video_folder --inference_mode sliding \
    --scales 1.5 --split val --crop_size 640 --dump_images --exp pinmem --arch network.deepv3plus.DeepR50V3PlusD \
    --memory --videopath "$folder" --sliding_overlap 0.5 --recipe published "$@"
