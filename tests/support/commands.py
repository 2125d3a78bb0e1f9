"""The release's command lines: what its scripts ask Python to do, by the scripts' names."""

UNSEEN = "--val_dataset cityscapes bdd100k mapillary"
NETWORK = "--arch network.deepv3plus.DeepR50V3PlusD"
STEPS = "--lr 0.01 --bs_mult 4 --gblur --color_aug 0.5"
COMMON = f"{UNSEEN} {NETWORK} {STEPS}"
MEMORY = "--memory --mem_readloss 0.02 --mem_divloss 0.4 --mem_clsloss 0.2 --mem_momentum 0.8"
META = f"--exp pinmem --mldg {MEMORY} --inner_lr_anneal"
GSI = "--dataset gtav synthia idd --covstat_val_dataset gtav synthia idd --max_cu_epoch 10000 --rrotate 0"
TRAIN = {
    "train_GG_pinmem_DR50V3P.sh": f"--dataset gtav gtav {COMMON} {META}",
    "train_GSI_ibnnet_DR50V3P.sh": (
        f"{GSI} {COMMON} --exp ibnnet_DR50V3P16_GSI --crop_size 768 --wt_reg_weight 0.0 --relax_denom 0.0 "
        "--cov_stat_epoch 0 --wt_layer 0 0 4 4 4 0 0"
    ),
    "train_GSI_pinmem_DR50V3P.sh": f"--dataset gtav synthia idd {COMMON} {META}",
    "train_GSI_robustnet_DR50V3P.sh": (
        f"{GSI} {COMMON} --exp robustnet_DR50V3P16_GSI --wt_reg_weight 0.6 --relax_denom 0.0 --clusters 3 "
        "--cov_stat_epoch 5 --trials 10 --wt_layer 0 0 2 2 2 0 0"
    ),
    "train_GS_baseline_DR50V3P.sh": f"--dataset gtav synthia {COMMON} --exp baseline",
    "train_GS_mldg_DR50V3P.sh": f"--dataset gtav synthia {COMMON} --exp mldg --mldg --inner_lr_anneal",
    "train_GS_pinmem_DR101V2.sh": f"--dataset gtav synthia {UNSEEN} --arch network.deepv2.DeepR101V2D {STEPS} {META}",
    "train_GS_pinmem_DR50V3P.sh": f"--dataset gtav synthia {COMMON} {META}",
}

# RobustNet's: PROCESSES of BS_MULT images, the method's settings, and DATE for DATA and network.
SOURCES = {"gtav": ("gtav", "bdd100k cityscapes synthia mapillary"),
           "cty": ("cityscapes", "bdd100k gtav synthia mapillary")}  # fmt: skip
NETWORKS = {"mobile": "DeepMobileNetV3PlusD", "r101os8": "DeepR101V3PlusD_OS8", "r50os16": "DeepR50V3PlusD",
            "shuffle": "DeepShuffleNetV3PlusD"}  # fmt: skip
NONE, PLAIN = "--wt_reg_weight 0.0 --relax_denom 0.0", "--cov_stat_epoch 0"
UNUSED = f"--clusters 0 {PLAIN} --trials 0"
SELECTED = "--cov_stat_epoch 5 --trials 10 --wt_layer 0 0 2 2 2 0 0"
BASE, IBN, INSTANCE = (f"--wt_layer 0 0 {kind} {kind} {kind} 0 0" for kind in (0, 4, 1))
SWITCHABLE = "--wt_layer 0 0 5 5 5 0 0"


def selective(weight: float, clusters: int) -> str:
    return f"--wt_reg_weight {weight} --relax_denom 0.0 --clusters {clusters} {SELECTED}"


def instance(weight: float, relaxed: float = 0.0) -> str:
    return f"--wt_reg_weight {weight} --relax_denom {relaxed} {UNUSED} {INSTANCE}"


COMPARED = {  # network, source, method: processes, their images, the settings
    "mobile_gtav_base": (2, 8, f"{NONE} {UNUSED} {BASE}"),
    "mobile_gtav_ibn": (2, 8, f"{NONE} {UNUSED} {IBN}"),
    "mobile_gtav_isw": (4, 4, selective(1.0, 20)),
    "r101os8_cty_base": (2, 4, f"{NONE} {PLAIN} {BASE}"),
    "r101os8_cty_isw": (2, 4, selective(0.6, 2)),
    "r50os16_cty_base": (2, 4, f"{NONE} {PLAIN} {BASE}"),
    "r50os16_cty_ibn": (2, 4, f"{NONE} {PLAIN} {IBN}"),
    "r50os16_cty_irw": (2, 4, instance(0.6, 32.0)),
    "r50os16_cty_isw": (2, 4, selective(0.6, 2)),
    "r50os16_cty_iw": (2, 4, instance(0.6)),
    "r50os16_cty_switchable": (2, 4, SWITCHABLE),
    "r50os16_gtav_base": (4, 4, f"{NONE} {PLAIN} {BASE}"),
    "r50os16_gtav_ibn": (4, 4, f"{NONE} {PLAIN} {IBN}"),
    "r50os16_gtav_irw": (4, 4, instance(0.6, 64.0)),
    "r50os16_gtav_isw": (4, 4, selective(0.6, 3)),
    "r50os16_gtav_iw": (4, 4, instance(0.8)),
    "r50os16_gtav_switchable": (4, 4, SWITCHABLE),
    "shuffle_gtav_base": (2, 8, f"{NONE} {UNUSED} {BASE}"),
    "shuffle_gtav_ibn": (2, 8, f"{NONE} {UNUSED} {IBN}"),
    "shuffle_gtav_isw": (2, 8, selective(0.8, 2)),
}
PLACES = "--ckpt ./logs/ --tb_path ./logs/"
AS_ROBUSTNET = (
    "--city_mode train --lr_schedule poly --lr 0.01 --poly_exp 0.9 --max_cu_epoch 10000 --class_uniform_pct 0.5 "
    "--class_uniform_tile 1024 --crop_size 768 --scale_min 0.5 --scale_max 2.0 --rrotate 0 --max_iter 40000 --gblur "
    "--color_aug 0.5"
)


def compared(name: str) -> str:
    """The command line of one of RobustNet's scripts, behind its launcher."""
    network, source, _ = name.split("_")
    trained, unseen = SOURCES[source]
    _, images, settings = COMPARED[name]
    date = "0201" if name in ("mobile_gtav_base", "mobile_gtav_ibn") else "0101"
    return (
        f"--dataset {trained} --covstat_val_dataset {trained} --val_dataset {unseen} {AS_ROBUSTNET} "
        f"--arch network.deepv3plus.{NETWORKS[network]} --bs_mult {images} {settings} --date {date} "
        f"--exp {name.replace('_cty_', '_city_')} {PLACES}"
    )


ROBUSTNET = {f"train_{name}.sh": compared(name) for name in COMPARED}
PROCESSES = {f"train_{name}.sh": processes for name, (processes, _, _) in COMPARED.items()}

SLIDING = "--inference_mode sliding --scales 1.0 --split val --crop_size 768 --dump_images"
POOLING = "--inference_mode pooling --scales 1.0 --no_flip --split val --crop_size 768 --dump_images"
FOLDER = "--inference_mode sliding --scales 1.5 --split val --crop_size 640 --dump_images --sliding_overlap 0.5"
OURS = f"{NETWORK} --memory --exp pinmem"
GS_BASELINE = "gta_synthia_DR50V3P/baseline/baseline_GS_DR50V3P.pth"
GS_PINMEM = "gta_synthia_DR50V3P/ours/pinmem_GS_DR50V3P.pth"
EVALUATE = {  # without the snapshot, and their snapshots
    "eval_baseline_DR50V3P.sh": (f"--dataset cityscapes {SLIDING} {NETWORK} --exp baseline", GS_BASELINE),
    "eval_custumfolder_pinmem_DR50V3P.sh": (
        f"--dataset video_folder {FOLDER} {OURS} --videopath .",
        "gta_synthia_idd_DR50V3P/ours/pinmem_GSI_DR50V3P.pth",
    ),
    "eval_pinmem_DR50V3P(noflip).sh": (f"--dataset cityscapes {POOLING} {OURS}", GS_PINMEM),
    "eval_pinmem_DR50V3P.sh": (f"--dataset cityscapes {SLIDING} {OURS}", GS_PINMEM),
}
FIGURES = f"--dataset gtav synthia cityscapes bdd100k --source_domain gtav synthia {NETWORK} --tsne"
ABLATE = {
    "abla_memact_pinmem_DR50V3P.sh": (
        f"--dataset cityscapes bdd100k mapillary --source_domain cityscapes {NETWORK} --memory --gumbel_off "
        "--mem_actmap",
        GS_PINMEM,
    ),
    "abla_tsne_baseline_DR50V3P.sh": (FIGURES, GS_BASELINE),
    "abla_tsne_pinmem_DR50V3P.sh": (f"{FIGURES} --memory", GS_PINMEM),
}
