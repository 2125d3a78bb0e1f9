"""The loss of a network's output: segmentation, auxiliary head, whitening."""

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from datasets.sampling.loaders import Batch
from loss.options import SELECTIVE_KIND, WHITENED_KINDS, SegmentationOptions, WhiteningOptions
from loss.relaxation import relaxed_cross_entropy
from loss.segmentation import auxiliary_cross_entropy, cross_entropy
from loss.weighting import Weigh, class_weights, image_weights
from methods.whitening_term import Whitening
from network.deeplab import DeepLab, SegOutput
from utils.distributed import all_sum

Terms = dict[str, Tensor]
AUX_WEIGHT = 0.4  # PSPNet's, and the release's


# This process's share of the loss of logits (N,K,h,w) with labels (N,H,W), which are a part of the keyword ``whole``.
PixelLoss = Callable[..., Tensor]
PLAIN: PixelLoss = partial(cross_entropy, reduce=all_sum)
PLAIN_AUXILIARY: PixelLoss = partial(auxiliary_cross_entropy, reduce=all_sum)


class Objective:
    """The weighted loss terms of a network's output.

    Each term is this process's share.  The sum over terms, parts of a batch and processes is minimised.
    """

    def __init__(
        self,
        segmentation: PixelLoss = PLAIN,
        auxiliary: PixelLoss = PLAIN_AUXILIARY,
        whitening: Whitening | None = None,
    ):
        self.segmentation, self.auxiliary, self.whitening = segmentation, auxiliary, whitening

    def __call__(self, out: SegOutput, batch: Batch) -> Terms:
        terms = {"seg": self.segmentation(out.coarse, batch.labels, whole=batch.whole)}
        if out.aux is not None:
            terms["aux"] = AUX_WEIGHT * self.auxiliary(out.aux, batch.labels, whole=batch.whole)
        if self.whitening is not None:
            images = None if batch.whole is None else len(batch.whole)
            terms["whitening"] = self.whitening(out.whitened, images=images)
        return terms


def build_objective(
    net: DeepLab, scheduler: LRScheduler, *, segmentation: SegmentationOptions, whitening: WhiteningOptions
) -> Objective:
    """The objective that the options choose.

    As in the authors' release, the auxiliary head uses class weights, but neither image weights nor relaxed borders.
    """
    main = segmentation_loss(segmentation, scheduler, classes=net.classifier.out_channels)
    weigh = class_weights if segmentation.class_weights else None
    return Objective(main, partial(PLAIN_AUXILIARY, weigh=weigh), whitening_term(whitening))


def segmentation_loss(options: SegmentationOptions, scheduler: LRScheduler, *, classes: int) -> PixelLoss:
    """The loss of the main head.  The steps of ``scheduler`` count the iterations, also after a resume."""
    plain = partial(cross_entropy, weigh=weighting(options, classes=classes), reduce=all_sum)
    if not options.relaxed:
        return plain
    relaxed = partial(relaxed_cross_entropy, strict=options.strict or (), **plain.keywords)
    if options.relaxed_until < 0:
        return relaxed

    def relaxed_at_first(logits: Tensor, labels: Tensor, *, whole: Tensor | None = None) -> Tensor:
        loss = relaxed if scheduler.last_epoch < options.relaxed_until else plain
        return loss(logits, labels, whole=whole)

    return relaxed_at_first


def weighting(options: SegmentationOptions, *, classes: int) -> Weigh | None:
    if options.class_weights:
        return class_weights
    if options.image_weights:
        return partial(image_weights, classes=classes, bound=options.bound, joint=options.joint, reduce=all_sum)
    return None


def whitening_term(options: WhiteningOptions) -> Whitening | None:
    """The term of the network's whitened layers; None without a whitening loss."""
    if not options.active:
        return None
    selective = [kind == SELECTIVE_KIND for kind in options.wt_layer if kind in WHITENED_KINDS]
    return Whitening(selective, weight=options.weight, relax_denom=options.relax_denom)
