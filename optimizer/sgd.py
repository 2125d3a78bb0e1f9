"""SGD with its learning-rate schedule."""

from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from optimizer.schedules import OptimizerOptions, decay_factor


def build_optimizer(net: nn.Module, options: OptimizerOptions) -> tuple[SGD, LambdaLR]:
    """SGD over all parameters, and its schedule, which steps once per iteration.  On CUDA the update is one kernel."""
    params = [param for param in net.parameters() if param.requires_grad]
    fused = all(param.is_cuda for param in params) or None
    sgd = SGD(params, lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay, fused=fused)
    sgd.register_load_state_dict_post_hook(keep_kernel)
    settings = {"schedule": options.schedule, "exponent": options.exponent, "horizon": options.horizon}
    return sgd, LambdaLR(sgd, lambda iteration: decay_factor(iteration, **settings))


def keep_kernel(sgd: SGD) -> None:
    """A loaded state may come from another device, with another kernel: keep our own choice."""
    for group in sgd.param_groups:
        group["fused"] = sgd.defaults["fused"]
