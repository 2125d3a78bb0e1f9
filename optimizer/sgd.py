"""SGD with its learning-rate schedule."""

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
    """SGD over all trainable parameters, and its schedule, which advances once per iteration.

    On CUDA, one fused kernel updates all parameters.
    """
    params = [param for param in net.parameters() if param.requires_grad]
    fused = all(param.is_cuda for param in params) or None
    sgd = SGD(params, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=fused)
    sgd.register_load_state_dict_post_hook(keep_kernel)
    return sgd, LambdaLR(sgd, lambda i: decay_factor(i, schedule=schedule, exponent=exponent, horizon=horizon))


def keep_kernel(sgd: SGD) -> None:
    """Keep this device's kernel: a loaded state may come from another device, which used another kernel."""
    for group in sgd.param_groups:
        group["fused"] = sgd.defaults["fused"]
