"""Options of the losses.  Imports no torch."""

from dataclasses import dataclass

from utils.options import ANY, COUNT, WEIGHT, class_ids, number, option

WHITENED_KINDS = (1, 2)  # the numbers of ``--wt_layer`` whose layers a whitening loss sees
SELECTIVE_KIND = 2  # the number whose layers it whitens in selected entries only


@dataclass(frozen=True)
class SegmentationOptions:
    """Options of the segmentation loss."""

    class_weights: bool = option(False, "weight the classes, as for Cityscapes", flag="cls_wt_loss")
    image_weights: bool = option(False, "more weight for classes that an image shows little", flag="img_wt_loss")
    bound: float = option(1.0, "the largest amount that --img_wt_loss adds", flag="wt_bound", type=WEIGHT)
    joint: bool = option(False, "compute --img_wt_loss on the whole batch", flag="batch_weighting")
    logit_adjust: float = option(
        0.0, "the loss sees logits + this times log(share of the class in training)", by_recipe=True, type=WEIGHT
    )
    relaxed: bool = option(False, "at borders, accept the class of any neighbouring pixel", flag="jointwtborder")
    strict: tuple[int, ...] | None = option(
        None, "classes never relaxed, e.g. 5,6", flag="strict_bdr_cls", type=class_ids
    )
    relaxed_until: int = option(
        -1, "iteration that ends --jointwtborder; -1: none", flag="rlx_off_iter", type=number(int, -1)
    )


@dataclass(frozen=True)
class WhiteningOptions:
    """Options of RobustNet's whitening loss (Choi et al., CVPR 2021)."""

    weight: float = option(0.0, "weight of the whitening loss", flag="wt_reg_weight", type=WEIGHT)
    relax_denom: float = option(
        0.0, "--wt_layer 1 tolerates covariances of 1/X, 2 spares one entry in X; 0: neither", type=WEIGHT
    )
    clusters: int = option(50, "k-means clusters of the entries; --wt_layer 2 spares the lowest one", type=ANY)
    first_epoch: int = option(0, "epoch that ends with the selection, from 0", flag="cov_stat_epoch", type=ANY)
    dynamic: bool = option(False, "select anew after every --cov_stat_epoch + 1 epochs")
    trials: int = option(10, "passes over the images; an entry must be selected in all of them", type=ANY)
    datasets: tuple[str, ...] = option(
        None, "data sets that select the entries (default: the sources)", flag="covstat_val_dataset", nargs="+"
    )
    images: int = option(500, "validation images of each of these data sets", flag="covstat_images", type=COUNT)
    wt_layer: tuple[int, ...] = ()

    @property
    def active(self) -> bool:
        """Whether there is a whitening loss."""
        return self.weight > 0 and any(kind in WHITENED_KINDS for kind in self.wt_layer)

    @property
    def selective(self) -> bool:
        """Whether the loss needs statistics to select covariance entries."""
        return self.active and SELECTIVE_KIND in self.wt_layer

    @property
    def clustered(self) -> bool:
        """Whether k-means selects the entries; otherwise a fixed share of them is selected."""
        return self.selective and not self.relax_denom
