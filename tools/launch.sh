# shellcheck shell=bash
# Sourced by the scripts that train, evaluate and draw as published.  They run from any folder, and flags behind a script's
# name win over those inside.  Paths are relative to the folder that one is in.  Environment variables:
#   DATA_ROOT  the folder of all data sets, as --data_root
#   GPUS       run so many processes, one per GPU (default: 1; where more were published, those, or as many as there are
#              GPUs for: nvidia-smi and CUDA_VISIBLE_DEVICES tell; one without a GPU or with --device cpu)
#   SNAPSHOT   evaluate this checkpoint instead of the authors' one
set -euo pipefail
# shellcheck source=tools/setup.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/setup.sh"
extra=

fail() {
    echo "${0##*/}: error: $1" >&2
    exit 2
}

# published_processes N FLAGS...: as many, unless GPUS says another number or there are not that many GPUs.
published_processes() {
    local published=$1 device=" ${*:2} "
    [ -z "${GPUS:-}" ] || return 0
    case ${device//=/ } in *" --device cpu "*) GPUS=1 ;; *) GPUS=$(count_gpus) ;; esac
    [ "$GPUS" -lt "$published" ] || GPUS=$published
    [ "$GPUS" -ge 1 ] || GPUS=1
    [ "$GPUS" = "$published" ] ||
        echo "note: a batch is $GPUS x --bs_mult images; published were $published x: set GPUS, or raise --bs_mult" >&2
}

count_gpus() {
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
        tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c '^ *[0-9A-Z]' || true
    else
        nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true
    fi
}

# train FLAGS...
train() {
    local told code
    if [[ " $* " =~ --wt_layer(\ [0-5])*\ 2\  ]]; then extra=whitening; fi  # what selective whitening needs besides
    choose_command train.py "$@"
    case " $* " in
        *" --plan "* | *" --help "* | *" -h "*) exec env WORLD_SIZE="$GPUS" "${command[@]}" ;;
    esac
    # Most mistakes are told here, once and in one line, before there are several processes that would all tell them.
    [ "$GPUS" = 1 ] || told=$(WORLD_SIZE=$GPUS "${command[@]}" --plan 2>&1 >/dev/null) ||
        { code=$? && echo "$told" >&2 && exit "$code"; }
    run_command
}

# evaluate FILE FLAGS...: FILE is the authors' checkpoint, below the folder of their README or that of their scripts
evaluate() { with_weights eval.py "$@"; }

# ablate FILE FLAGS...: the figures, in the same way
ablate() {
    case " $* " in *" --tsne "*) extra=figures ;; esac  # what t-SNE needs besides; maps need nothing
    with_weights ablation.py "$@"
}

with_weights() {
    local program=$1 snapshot=$ROOT/pretrained_model/$2 other=$ROOT/pretrained_models/$2
    shift 2
    [ -e "$snapshot" ] || [ ! -e "$other" ] || snapshot=$other
    [ -z "${SNAPSHOT:-}" ] || snapshot=$(absolute "$SNAPSHOT")
    case " $* " in
        *" --snapshot"* | *" --help "* | *" -h "*) ;;
        *) [ -e "$snapshot" ] || fail "no file $snapshot: put the authors' weights there, or set SNAPSHOT=FILE" ;;
    esac
    choose_command "$program" --snapshot "$snapshot" "$@"
    # A CPU keeps the memory that it had, and glibc's cache of small pieces would leave holes in it: 0.3 GB with pooling.
    export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.tcache_count=0}
    run_command
}

# In one process, or in as many as GPUS says.
run_command() {
    [ "$GPUS" != 1 ] || exec "${command[@]}"
    exec "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node "$GPUS" "${command[@]:1}"
}

# choose_command PROGRAM FLAGS...: sets command.  It runs in the folder that one is in, where relative paths are meant.
choose_command() {
    local program=$ROOT/$1
    shift
    case ${GPUS:=1} in *[!0-9]* | 0*) fail "GPUS=$GPUS: give a number of processes, 1 or more" ;; esac
    [ -z "${DATA_ROOT:-}" ] || set -- --data_root "$(absolute "$DATA_ROOT")" "$@"
    setup_python ${extra:+"$extra"}
    command=("$PYTHON" "$program" "$@")
}

absolute() {
    case $1 in /* | "~"*) printf '%s\n' "$1" ;; *) printf '%s\n' "$PWD/$1" ;; esac
}
