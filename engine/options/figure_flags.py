"""The flags of figures: ``eval.py --tsne`` and ``eval.py --mem_actmap``, spelt as in the release."""

from argparse import ArgumentParser, Namespace
from typing import Any

from engine.options.flags import COUNT, FACTOR, data_sets

FIGURES = "--tsne or --mem_actmap"
GOES_WITH = {  # flags that say nothing without another: what sets the other, and how it is called
    "all_class": (("tsne", "mem_actmap"), FIGURES),
    "source_domain": (("tsne", "mem_actmap"), FIGURES),
    "centre_crop": (("tsne", "mem_actmap"), FIGURES),
    "pca": (("tsne",), "--tsne"),
    "tsnecuda": (("tsne",), "--tsne"),
}


def add_figures(group: Any) -> None:
    group.add_argument("--tsne", action="store_true", help="draw the features in two dimensions, a point per image and "
                       "class, with the memory's items; by class and by domain")  # fmt: skip
    group.add_argument("--mem_actmap", action="store_true", help="draw where the memory's item of each class is read")
    group.add_argument(
        "--all_class", action="store_true", help="of all classes, not of building, vegetation, sky, car, sidewalk, pole"
    )
    group.add_argument(
        "--imagenum_dom", type=COUNT, default=600, metavar="N", help="at most N images per domain; --limit goes first"
    )
    group.add_argument(
        "--source_domain", nargs="+", metavar="NAME", help="domains to be called sources (default: those that the "
        "snapshot was trained on)"
    )  # fmt: skip
    group.add_argument(
        "--centre_crop", nargs=2, type=COUNT, metavar=("WIDTH", "HEIGHT"), help="look at no more than that of an image"
    )
    group.add_argument(
        "--actmap_scale", default="pixel", choices=("pixel", "image"), help="what is lowest and highest in a map: the "
        "least and most read item of each pixel, as published, or the class's own least and most over the image"
    )  # fmt: skip
    add_embedding(group)


def add_embedding(group: Any) -> None:
    group.add_argument(
        "--tsne_features", default="before", choices=("before", "after"), help="the encoder's, before the memory is "
        "read, or those after the read"
    )  # fmt: skip
    group.add_argument(
        "--duplication", type=COUNT, default=1, metavar="N", help="draw N embeddings, the first from the principal "
        "components, the others from random starts"
    )  # fmt: skip
    group.add_argument(
        "--perplexity", type=FACTOR, metavar="P", help="of t-SNE (default: 50; 30 with --tsnecuda; less for few points)"
    )
    group.add_argument("--pca", action="store_true", help="the two principal components instead of t-SNE: seconds")
    group.add_argument("--tsnecuda", action="store_true", help="t-SNE by the package tsnecuda, on a GPU")


def check_figures(parser: ArgumentParser, args: Namespace) -> None:
    for name, (others, called) in GOES_WITH.items():
        if getattr(args, name) and not any(getattr(args, other) for other in others):
            parser.error(f"--{name}: says nothing without {called}; add it")
    if args.pca and args.tsnecuda:
        parser.error("--pca and --tsnecuda: give one of them at a time")
    if args.pca and args.duplication > 1:
        parser.error(f"--duplication {args.duplication}: principal components are always the same; drop it or --pca")
    if args.tsne and args.images is not None:
        parser.error(f"--tsne: points need labels, which --images {args.images} has not; name domains by --dataset")
    if args.tsne or args.mem_actmap:
        check_look(parser, args)
    args.source_domain = data_sets(parser, args.source_domain or (), args.data_root)


def check_look(parser: ArgumentParser, args: Namespace) -> None:
    """Figures show whole images that are read once."""
    called = "--tsne" if args.tsne else "--mem_actmap"
    if args.inference_mode != "whole":
        parser.error(f"{called}: images are seen whole; drop --inference_mode {args.inference_mode}")
    if args.dump_images:
        parser.error(f"{called}: nothing is scored; drop --dump_images, or drop {called}")
    if args.gumbel_eval and args.gumbel_eval > 1:
        parser.error(f"{called}: images are read once; give --gumbel_eval 0 or 1")
