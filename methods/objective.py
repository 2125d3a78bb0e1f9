"""The loss of a network's output: segmentation, auxiliary head, whitening."""

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from datasets.sampling.loaders import Batch
from loss.options import SegmentationOptions
from loss.relaxation import relaxed_cross_entropy
from loss.segmentation import auxiliary_cross_entropy, class_pixels, class_weights, cross_entropy, image_weights
from methods.whitening_term import Whitening
from network.deeplab import SegOutput
from utils.distributed import all_sum

Terms = dict[str, Tensor]
AUX_WEIGHT = 0.4  # PSPNet's, and the release's


class Objective:
    """The weighted loss terms of a network's output.

    Each term is this process's share.  The sum over terms, parts of a batch and processes is minimised.  The steps of
    ``scheduler`` count the iterations, also after a resume; only ``relaxed_until`` needs it.

    ``pixels`` (K, int64) are the labelled pixels of each class in all iterations so far, for ``logit_adjust``.
    """

    def __init__(
        self,
        options: SegmentationOptions | None = None,
        *,
        whitening: Whitening | None = None,
        scheduler: LRScheduler | None = None,
        pixels: Tensor | None = None,
    ):
        self.options, self.whitening, self.scheduler = options or SegmentationOptions(), whitening, scheduler
        self.pixels = pixels

    def count(self, labels: Tensor) -> None:
        """Add this process's ``labels`` (D,N,H,W) of an iteration, before its losses, to ``pixels``."""
        if self.options.logit_adjust:
            self.pixels += all_sum(class_pixels(labels.flatten(0, 1), len(self.pixels)).sum(dim=0))

    def __call__(self, out: SegOutput, batch: Batch) -> Terms:
        terms = {"seg": self.segmentation(out.coarse, batch.labels, whole=batch.whole)}
        if out.aux is not None:
            terms["aux"] = AUX_WEIGHT * self.auxiliary(out.aux, batch.labels, whole=batch.whole)
        if self.whitening is not None:
            images = None if batch.whole is None else len(batch.whole)
            terms["whitening"] = self.whitening(out.whitened, images=images)
        return terms

    def segmentation(self, logits: Tensor, labels: Tensor, *, whole: Tensor | None = None) -> Tensor:
        """The loss of the main head's ``logits`` (N,K,h,w) with ``labels`` (N,H,W), a part of the labels ``whole``."""
        options, weights = self.options, None
        if options.logit_adjust:
            logits = logits + options.logit_adjust * log_shares(self.pixels)[:, None, None]
        if options.class_weights:
            weights = class_weights(labels.device)
        elif options.image_weights:
            rules = {"bound": options.bound, "joint": options.joint}
            weights = image_weights(labels, whole, classes=logits.shape[1], **rules)
        if options.relaxed and (options.relaxed_until < 0 or self.scheduler.last_epoch < options.relaxed_until):
            strict = options.strict or ()
            return relaxed_cross_entropy(logits, labels, whole=whole, strict=strict, weights=weights)
        return cross_entropy(logits, labels, whole=whole, weights=weights)

    def auxiliary(self, logits: Tensor, labels: Tensor, *, whole: Tensor | None = None) -> Tensor:
        """The loss of the auxiliary head: as in the release without image weights and relaxed borders."""
        weights = class_weights(labels.device) if self.options.class_weights else None
        return auxiliary_cross_entropy(logits, labels, whole=whole, weights=weights)


def log_shares(pixels: Tensor) -> Tensor:
    """The logarithm of each class's share of ``pixels`` (K); 0 for a class without any.

    Added to the logits in the loss, it leaves to the network what images say, without how common a class is (logit
    adjustment, Menon et al., ICLR 2021).
    """
    return torch.where(pixels > 0, pixels / pixels.sum(), 1).log()
