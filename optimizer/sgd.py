"""The optimizer."""

from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from optimizer.schedules import decay_factor


def build_optimizer(
    net: nn.Module,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    schedule: str,
    exponent: float,
    horizon: int,
) -> tuple[SGD, LambdaLR]:
    """SGD over all parameters, with the schedule to be stepped once per iteration."""
    params = [param for param in net.parameters() if param.requires_grad]
    sgd = SGD(params, lr=lr, momentum=momentum, weight_decay=weight_decay)
    return sgd, LambdaLR(sgd, lambda i: decay_factor(i, schedule=schedule, exponent=exponent, horizon=horizon))
