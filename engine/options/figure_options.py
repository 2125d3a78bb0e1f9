"""Options of the figures ``eval.py --tsne`` and ``eval.py --mem_actmap``, spelt as in the authors' release."""

from argparse import Namespace
from dataclasses import dataclass

from utils.errors import CommonError
from utils.options import COUNT, FACTOR, option


@dataclass(frozen=True)
class FigureOptions:
    """Which figures are drawn, and how."""

    tsne: bool = option(
        False,
        "draw the features in two dimensions, a point per image and class, with the memory's items; by class and by "
        "domain",
    )
    actmap: bool = option(False, "draw where the memory's item of each class is read", flag="mem_actmap")
    all_classes: bool = option(
        False, "of all classes, not only building, vegetation, sky, car, sidewalk and pole", flag="all_class"
    )
    images_per_domain: int = option(
        600, "at most N images per domain; --limit wins", flag="imagenum_dom", type=COUNT, metavar="N"
    )
    sources: tuple[str, ...] = option(
        None,
        "domains to be called sources (default: the training domains of the checkpoint)",
        flag="source_domain",
        nargs="+",
        metavar="NAME",
    )
    centre_crop: tuple[int, int] | None = option(
        None, "look only at the centre of an image", nargs=2, type=COUNT, metavar=("WIDTH", "HEIGHT")
    )
    actmap_scale: str = option(
        "pixel",
        "the range of a map: pixel, from the least to the most read item of each pixel, as published; image, from the "
        "least to the most of the class over the image",
        choices=("pixel", "image"),
    )
    tsne_features: str = option("before", "features before the memory is read, or after", choices=("before", "after"))
    embeddings: int = option(
        1,
        "draw N embeddings, the first from the principal components, the others from random starts",
        flag="duplication",
        type=COUNT,
        metavar="N",
    )
    perplexity: float | None = option(
        None, "perplexity of t-SNE (default: 50; 30 with --tsnecuda; less for few points)", type=FACTOR, metavar="P"
    )
    pca: bool = option(False, "the two principal components instead of t-SNE: seconds")
    tsnecuda: bool = option(False, "t-SNE by the package tsnecuda, on a GPU")


def check_figures(args: Namespace) -> None:
    either, tsne = ("tsne", "mem_actmap"), ("tsne",)
    needed = {"all_class": either, "source_domain": either, "centre_crop": either, "pca": tsne, "tsnecuda": tsne}
    for name, others in needed.items():
        if getattr(args, name) and not any(getattr(args, other) for other in others):
            flags = " or ".join(f"--{other}" for other in others)
            raise CommonError(f"--{name}: changes nothing without {flags}; add it")
    if args.pca and args.tsnecuda:
        raise CommonError("--pca and --tsnecuda: give one of them at a time")
    if args.pca and args.duplication > 1:
        raise CommonError(
            f"--duplication {args.duplication}: principal components are always the same; drop it or --pca"
        )
    if args.tsne and args.images is not None:
        raise CommonError(
            f"--tsne: points need labels, which --images {args.images} has not; name domains by --dataset"
        )
    if not args.tsne and not args.mem_actmap:
        return
    flag = "--tsne" if args.tsne else "--mem_actmap"
    if args.inference_mode != "whole":
        raise CommonError(f"{flag}: images are seen whole; drop --inference_mode {args.inference_mode}")
    if args.dump_images:
        raise CommonError(f"{flag}: nothing is scored; drop --dump_images, or drop {flag}")
    if args.gumbel_eval and args.gumbel_eval > 1:
        raise CommonError(f"{flag}: images are read once; give --gumbel_eval 0 or 1")
