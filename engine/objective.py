"""From flags to the losses that a method minimises, apart from those of the memory."""

from argparse import Namespace
from functools import partial

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from engine.options.whitening_flags import SELECTIVE, WHITENED, clustered, whitens
from loss.relaxation import relaxed_cross_entropy
from loss.segmentation import auxiliary_cross_entropy, cross_entropy
from loss.weighting import Weigh, class_weights, image_weights
from methods.aggregate import PixelLoss
from methods.whitening_term import Whitening
from network.deeplab import Encoder
from utils.distributed import all_sum
from utils.errors import UsageError


def pixel_losses(args: Namespace, scheduler: LRScheduler, *, classes: int) -> dict[str, PixelLoss]:
    """The losses of the network's answer and of its auxiliary head, for so many classes, as a method takes them.

    As in the release the auxiliary head knows class weights, but neither image weights nor relaxed borders.
    """
    auxiliary = partial(auxiliary_cross_entropy, weigh=class_weights if args.cls_wt_loss else None, reduce=all_sum)
    return {"segmentation": segmentation_loss(args, scheduler, classes=classes), "auxiliary": auxiliary}


def segmentation_loss(args: Namespace, scheduler: LRScheduler, *, classes: int) -> PixelLoss:
    """The loss of the network's answer; the steps of ``scheduler``, which a run that goes on restores, are the
    iterations."""
    options = {"weigh": weighing(args, classes=classes), "reduce": all_sum}
    plain = partial(cross_entropy, **options)
    if not args.jointwtborder:
        return plain
    relaxed = partial(relaxed_cross_entropy, strict=args.strict_bdr_cls or (), **options)
    if args.rlx_off_iter < 0:
        return relaxed

    def relaxed_at_first(logits: Tensor, labels: Tensor, *, whole: Tensor | None = None) -> Tensor:
        return (relaxed if scheduler.last_epoch < args.rlx_off_iter else plain)(logits, labels, whole=whole)

    return relaxed_at_first


def weighing(args: Namespace, *, classes: int) -> Weigh | None:
    if args.cls_wt_loss:
        return class_weights
    if args.img_wt_loss:
        joint = args.batch_weighting
        return partial(image_weights, classes=classes, bound=args.wt_bound, joint=joint, reduce=all_sum)
    return None


def whitening_term(args: Namespace, encoder: Encoder) -> Whitening | None:
    """The term of the layers that ``--wt_layer`` 1 and 2 put into the network; None where it weighs nothing."""
    if not whitens(args):
        return None
    selective = [kind == SELECTIVE for kind in args.wt_layer if kind in WHITENED]
    widths = [norm.num_features for norm, chosen in zip(encoder.whitening, selective, strict=True) if chosen]
    most = min((width * (width - 1) // 2 + 1 for width in widths), default=0)  # the entries, and 0
    if clustered(args) and args.clusters > most:
        raise UsageError(
            f"--clusters {args.clusters}: a layer has {most:,} different numbers to cluster; give at most that"
        )
    return Whitening(selective, weight=args.wt_reg_weight, relax_denom=args.relax_denom)
