"""Options of the figures ``eval.py --tsne`` and ``eval.py --mem_actmap``, spelt as in the authors' release."""

from dataclasses import dataclass

from utils.options import COUNT, FACTOR, option


@dataclass(frozen=True)
class FigureOptions:
    """Which figures are drawn, and how."""

    tsne: bool = option(False, "draw the features of each image and class in two dimensions")
    actmap: bool = option(False, "draw where the memory's item of each class is read", flag="mem_actmap")
    all_classes: bool = option(False, "of all classes, not only of six", flag="all_class")
    images_per_domain: int = option(600, "at most N images per domain; --limit wins", flag="imagenum_dom", type=COUNT)
    sources: tuple[str, ...] = option(
        None, "domains to be called sources (default: those of the checkpoint)", flag="source_domain", nargs="+"
    )
    centre_crop: tuple[int, int] | None = option(
        None, "look only at the centre of an image, of this width and height", nargs=2, type=COUNT
    )
    embeddings: int = option(1, "draw N embeddings, from different starts", flag="duplication", type=COUNT)
    perplexity: float = option(50.0, "perplexity of t-SNE; less for few points", type=FACTOR)
    pca: bool = option(False, "the two principal components instead of t-SNE: seconds")
