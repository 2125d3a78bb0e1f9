"""What ``benchmarks.generalise`` trains: settings (data and network) and studies (rows of a table)."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from datasets.demo import STYLES, write_demo
from datasets.labels import STANDARD
from datasets.own.own_classes import FILE

PICTURES = (("images", "images", Image.BICUBIC), ("labels", "labels_coarse7", Image.NEAREST))
GROUPS = {"drivable": 0, "nondrivable": 1, "living": 11, "vehicle": 13, "roadside": 5, "far": 2, "sky": 10}
SHARP = "--gumbel_off --read_temp 0.1 --mem_temp 0.1 --mem_readloss 0.2"
META = "--mldg --inner_lr_anneal"
LINE = "line.json"  # in the folder of a run: what is known of it when it has ended


class Way(NamedTuple):
    """Domains to train on, and domains that training never sees."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]


class Row(NamedTuple):
    """A row of a table: how the method differs from the baseline of its setting."""

    flags: str = ""  # of train.py; a later flag wins
    variants: tuple[str, ...] = ()  # names in benchmarks/variants.py
    scales: tuple[float, ...] = (1.0,)  # at which images are scored


class Setting(NamedTuple):
    """Data and a network, sized so that a run takes minutes on one core, or on a GPU."""

    draw: Callable[[Path, Path], None]  # writes the data: the folder of the domains, the folder of the real pictures
    flags: str  # of train.py, for every row
    name: str  # of a domain for train.py; {root} is the folder of the domains
    ways: Mapping[str, Way]  # the first one is for choosing, the others are for confirming what was chosen
    weights: str = ""  # of the backbone: {weights} in the flags; a file beside the real pictures
    iterations: int = 300  # of a run
    threads: int | None = 1  # of a run; None: all cores


class Job(NamedTuple):
    """What tells one run from all others."""

    setting: str
    way: str
    row: str
    flags: str
    variants: tuple[str, ...]
    scales: tuple[float, ...]
    iterations: int
    seed: int


def job_of(line: Mapping[str, Any]) -> Job:
    """The run that a line of results is about."""
    values = {name: line[name] for name in Job._fields}
    return Job(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def draw_demo(root: Path, real: Path) -> None:
    write_demo(root, domains=list(STYLES), train=100, val=24, size=(128, 256), workers=1)


def draw_mini(root: Path, real: Path) -> None:
    """Small copies of real pictures."""
    camvid = (256, 192)
    draw_real(root, real, {"cityscapes": (256, 128), "camvid": camvid, "camvid_test": camvid, "idd_lite": (256, 182)})


def draw_mini_r50(root: Path, real: Path) -> None:
    """The real pictures as they are stored, but frames of Cityscapes, stored as squares, with their own shape."""
    camvid = (480, 360)
    draw_real(root, real, {"cityscapes": (512, 256), "camvid": camvid, "camvid_test": camvid, "idd_lite": (320, 227)})


def draw_real(root: Path, real: Path, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Real pictures in seven classes with these widths and heights; 60 of each domain are scored.

    Those of CamVid are four seconds of one drive.  So all its test pictures, a second apart, are a domain of their own.
    """
    colours = {name: ",".join(map(str, STANDARD.colours[k])) for name, k in GROUPS.items()}
    for name, size in sizes.items():
        home = root / name
        if (home / FILE).exists():
            continue
        shutil.rmtree(home, ignore_errors=True)
        source = name.removesuffix("_test")
        lists = {"train": ("train", 900), "val": ("val", 60)} if source == name else {"val": ("test", 900)}
        for split, (listed, most) in lists.items():
            stems = [Path(line).stem for line in (real / source / f"{listed}.txt").read_text().split()]
            stems = stems[:: max(1, len(stems) // most)][:most]
            for folder, kind, how in PICTURES:
                (home / folder).mkdir(parents=True, exist_ok=True)
                for stem in stems:
                    path = next((real / source / kind).glob(f"{stem}.*"))
                    picture = Image.open(path)
                    if picture.size == size:
                        shutil.copyfile(path, home / folder / path.name)
                    else:
                        picture.resize(size, how).save(home / folder / f"{stem}.png")
            (home / f"{split}.txt").write_text("\n".join(stems))
        entries = ", ".join(f'{group}: "{colour}"' for group, colour in colours.items())
        (home / FILE).write_text(f"classes: {{{entries}}}\n")


SMALL = (
    "--arch DeepR18V3PlusD --output_stride 16 --decoder_dim 64 --crop_size 96 --scale_min 0.75 --scale_max 1.5 "
    "--bs_mult 3 --val_images 12 --save_interval 300 --keep 1 --mem_init_batches 10 "
    "--lr_schedule poly --gblur --color_aug 0.5 --num_workers 0 --no_check --mapillary_crop 0 --device cpu"
)
LARGE = (  # the release's learning rate, augmentation and images per domain
    "--arch DeepR50V3PlusD --crop_size 256 --bs_mult 4 --val_images 12 --save_interval 3000 --keep 1 --gblur "
    "--color_aug 0.5 --no_check --mapillary_crop 0 --device auto"
)
REAL_WAYS = {
    "to_cityscapes": Way(("camvid", "idd_lite"), ("cityscapes",)),
    "to_camvid": Way(("cityscapes", "idd_lite"), ("camvid",)),
    "to_camvid_test": Way(("cityscapes", "idd_lite"), ("camvid_test",)),
    "to_idd_lite": Way(("camvid", "cityscapes"), ("idd_lite",)),
}

SETTINGS = {
    "demo": Setting(
        draw_demo,
        f"{SMALL} --pretrained_backbone none --lr 0.05",
        "{name}",
        {
            "GS": Way(("gtav", "synthia"), ("idd", "cityscapes")),
            "GS2": Way(("gtav", "synthia"), ("bdd100k", "mapillary")),
            "IC": Way(("idd", "cityscapes"), ("bdd100k", "mapillary")),
        },
    ),
    "mini": Setting(
        draw_mini,
        f"{SMALL} --pretrained_backbone {{weights}}",
        "custom:{root}/{name}",
        REAL_WAYS,
        weights="resnet18_imagenet_nofc_fp16.pth",
    ),
    "mini-R50": Setting(
        draw_mini_r50,
        f"{LARGE} --pretrained_backbone {{weights}}",
        "custom:{root}/{name}",
        REAL_WAYS,
        weights="resnet50_imagenet_nofc_fp16.pth",
        iterations=3000,
        threads=None,
    ),
}

PINMEM = f"{META} --memory"
PUBLISHED = f"{PINMEM} --recipe published --mem_init_batches 10"
DIAGNOSIS = {
    "baseline": Row(),
    "MLDG": Row(META),
    "memory": Row("--memory"),
    "PinMem": Row(PINMEM),
    "PinMem, published recipe": Row(PUBLISHED),
    "memory, sharp": Row(f"--memory {SHARP}"),
    "PinMem, sharp": Row(f"{PINMEM} {SHARP}"),
    "PinMem, no Gumbel noise": Row(f"{PINMEM} --gumbel_off"),
    "PinMem, temperatures .3": Row(f"{PINMEM} --gumbel_off --read_temp 0.3 --mem_temp 0.3"),
    "PinMem, temperatures .1": Row(f"{PINMEM} --gumbel_off --read_temp 0.1 --mem_temp 0.1"),
    "PinMem, temperatures .05": Row(f"{PINMEM} --gumbel_off --read_temp 0.05 --mem_temp 0.05"),
    "PinMem, temperatures learned": Row(f"{PINMEM} --gumbel_off", ("temperatures learned",)),
    "PinMem, cohesion .2": Row(f"{PINMEM} --mem_readloss 0.2"),
    "PinMem, divergence 2": Row(f"{PINMEM} --mem_divloss 2"),
    "PinMem, item classification 1": Row(f"{PINMEM} --mem_clsloss 1"),
    "PinMem, momentum .5": Row(f"{PINMEM} --mem_momentum 0.5"),
    "PinMem, momentum .95": Row(f"{PINMEM} --mem_momentum 0.95"),
    "PinMem, half the learning rate": Row(f"{PINMEM} --lr {{half_lr}}"),
    "PinMem, six images": Row(f"{PINMEM} --bs_mult 6"),
    "PinMem, centred": Row(f"{PINMEM} --mem_centred"),
    "PinMem, residual": Row(f"{PINMEM} --mem_residual"),
    "PinMem, images divided": Row(f"{PINMEM} --meta_split images"),
    "PinMem, all images in both passes": Row(f"{PINMEM} --meta_split all"),
    "PinMem, strong jitter for none": Row(f"{PINMEM} --meta_aug none"),
    "PinMem, norms of the backbone frozen": Row(f"{PINMEM} --backbone_norms freeze"),
    "PinMem, mean of the gradients": Row(f"{PINMEM} --meta_mean"),
    "PinMem, look-ahead .01": Row("--mldg --memory --inner_lr 0.01"),  # annealed, it would be lr / 4
    **{
        f"PinMem, {name}": Row(PINMEM, (name,))
        for name in (
            "strong jitter for all", "meta-test weight .5",
            "running statistics in meta-test", "no batch norm in pooling", "keys not rectified", "classifier by cosine",
            "memory after 100 iterations",
        )
    },
}  # fmt: skip

SHARP_RESIDUAL = f"--memory {SHARP} --mem_residual"
HELPED = f"{SHARP_RESIDUAL} --mem_centred"
SIX = "--bs_mult 6"  # with three images per domain the batch decides more than what is compared
DIVIDED = f"--meta_split images --meta_mean --meta_aug none {SIX}"
LIVING = f"{META} {HELPED}"
TUNED = f"{PINMEM} --recipe tuned --mem_init_batches 10"
UNADJUSTED = f"{TUNED} --logit_adjust 0"  # the recipe before logit adjustment
COMBINATIONS = {
    "memory, sharp, residual": Row(SHARP_RESIDUAL),
    "memory, sharp, centred, residual": Row(HELPED),
    "memory, sharp, centred, residual, cohesion 1": Row(f"{HELPED} --mem_readloss 1"),
    "memory, sharp, centred, residual, temperatures .05": Row(f"{HELPED} --read_temp 0.05 --mem_temp 0.05"),
    "PinMem, living, images divided": Row(f"{LIVING} --meta_split images --meta_mean --meta_aug none"),
    "PinMem, tuned": Row(TUNED),
    "PinMem, tuned, logits adjusted fully": Row(f"{TUNED} --logit_adjust 1"),
    "PinMem, tuned, gate shut": Row(TUNED, ("gate shut",)),
    "MLDG, tuned": Row(f"{META} --recipe tuned"),
    "baseline, logits adjusted": Row("--logit_adjust 0.5"),
    "baseline, image-weighted loss": Row("--img_wt_loss"),
    "PinMem, published recipe, logits adjusted": Row(f"{PUBLISHED} --logit_adjust 0.5"),
    "PinMem, unadjusted": Row(UNADJUSTED),
    "PinMem, unadjusted, image-weighted loss": Row(f"{UNADJUSTED} --img_wt_loss"),
    "PinMem, unadjusted, not centred": Row(f"{UNADJUSTED} --no-mem_centred"),
    "PinMem, unadjusted, gate open": Row(UNADJUSTED, ("gate open",)),
    "PinMem, unadjusted, gate shut": Row(UNADJUSTED, ("gate shut",)),
    "PinMem, unadjusted, not residual": Row(f"{UNADJUSTED} --no-mem_residual"),
    "PinMem, unadjusted, sum of gradients": Row(f"{UNADJUSTED} --no-meta_mean"),
    "PinMem, unadjusted, strong jitter": Row(f"{UNADJUSTED} --meta_aug role"),
    "PinMem, unadjusted, images divided": Row(f"{UNADJUSTED} --meta_split images"),
    "PinMem, unadjusted, domains divided": Row(f"{UNADJUSTED} --meta_split domains"),
    "MLDG, unadjusted": Row(f"{META} --recipe tuned --logit_adjust 0"),
    "baseline, learning rate doubled": Row("--lr {double_lr}"),
}
SIX_IMAGES = {
    "baseline, six images": Row(SIX),
    "baseline, six images, logits adjusted": Row(f"{SIX} --logit_adjust 0.5"),
    "PinMem, tuned, six images": Row(f"{TUNED} {SIX}"),
    "baseline, six images, image-weighted loss": Row(f"{SIX} --img_wt_loss"),
    "memory, sharp, residual, six images": Row(f"{SHARP_RESIDUAL} {SIX}"),
    "memory, sharp, centred, residual, six images": Row(f"{HELPED} {SIX}"),
    "MLDG, unadjusted, six images": Row(f"{META} --recipe tuned --logit_adjust 0 {SIX}"),
    "PinMem, published recipe, six images": Row(f"{PUBLISHED} {SIX}"),
    "PinMem, living, images divided, six images": Row(f"{LIVING} {DIVIDED}"),
    "PinMem, unadjusted, six images": Row(f"{UNADJUSTED} {SIX}"),
    "PinMem, unadjusted, six images, image-weighted loss": Row(f"{UNADJUSTED} {SIX} --img_wt_loss"),
    "PinMem, unadjusted, six images, cohesion by class": Row(f"{UNADJUSTED} {SIX}", ("cohesion by class",)),
    "PinMem, unadjusted, six images, cohesion by class 1": Row(
        f"{UNADJUSTED} {SIX} --mem_readloss 1", ("cohesion by class",)
    ),
    "PinMem, unadjusted, six images, cohesion by class 1, gate shut": Row(
        f"{UNADJUSTED} {SIX} --mem_readloss 1", ("cohesion by class", "gate shut")
    ),
    **{
        f"PinMem, unadjusted, six images, gate {name}": Row(f"{UNADJUSTED} {SIX}", (f"gate {name}",))
        for name in ("shut", "open", "thirty")
    },
}


def with_help(method: str, flags: str, **more: str) -> dict[str, Row]:
    """A method's row, and rows in which one thing is added that may help any method."""
    variants = ("random photometric operations", "PASTA", "MixStyle", "averaged weights", "frozen stem")
    added = {
        "class-uniform": "--class_uniform_pct 0.5 --class_uniform_tile 128",
        "image-weighted loss": "--img_wt_loss",
        **more,
    }
    return {
        method: Row(flags),
        **{f"{method}, {name}": Row(flags, (name,)) for name in variants},
        **{f"{method}, {name}": Row(f"{flags} {flag}") for name, flag in added.items()},
        f"{method}, two test scales": Row(flags, scales=(0.75, 1.25)),
    }


HELP_BASELINE = with_help("baseline, six images", SIX, **{"logits adjusted": "--logit_adjust 0.5"})
HELP_MLDG = with_help("MLDG, tuned", f"{META} --recipe tuned")
HELP_PINMEM = with_help("PinMem, tuned", TUNED)

RECIPES = {
    name: (DIAGNOSIS | COMBINATIONS)[name]
    for name in ("baseline", "PinMem, published recipe", "PinMem, tuned", "PinMem, unadjusted")
}
# What seemed to help the baseline when the confirmation was planned.
HELPED_MOST = Row("--logit_adjust 0.5", ("frozen stem",), (0.75, 1.25))
CONFIRMATION = {  # with seeds and domains that chose nothing
    **RECIPES,
    **{
        name: (COMBINATIONS | SIX_IMAGES)[name]
        for name in (
            "baseline, logits adjusted", "PinMem, tuned, gate shut", "MLDG, tuned", "baseline, six images",
            "baseline, six images, logits adjusted", "PinMem, tuned, six images", "MLDG, unadjusted",
        )
    },
    "baseline, with what helped": HELPED_MOST,
    "PinMem, tuned, with what helped": HELPED_MOST._replace(flags=TUNED),
    "baseline, unadjusted, with what helped": HELPED_MOST._replace(flags=""),
    "PinMem, unadjusted, with what helped": HELPED_MOST._replace(flags=UNADJUSTED),
}  # fmt: skip
STUDIES: dict[str, Mapping[str, Row]] = {
    "diagnosis": DIAGNOSIS, "combinations": COMBINATIONS, "six_images": SIX_IMAGES, "help_baseline": HELP_BASELINE,
    "help_mldg": HELP_MLDG, "help_pinmem": HELP_PINMEM, "recipes": RECIPES, "confirmation": CONFIRMATION,
}  # fmt: skip
