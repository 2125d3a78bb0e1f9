"""SGD with its learning-rate schedule."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from optimizer.schedules import OptimizerOptions, decay_factor


def build_optimizer(net: nn.Module, options: OptimizerOptions) -> tuple[SGD, LambdaLR]:
    """SGD over all parameters, and its schedule, which steps once per iteration.  On CUDA the update is one kernel."""
    params = [param for param in net.parameters() if param.requires_grad]
    fused = all(param.is_cuda for param in params) or None
    sgd = SGD(params, lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay, fused=fused)
    settings = {"schedule": options.schedule, "exponent": options.exponent, "horizon": options.horizon}
    return sgd, LambdaLR(sgd, lambda iteration: decay_factor(iteration, **settings))


def go_on(sgd: SGD, schedule: LambdaLR, state: Mapping[int, Any], options: OptimizerOptions, iteration: int) -> None:
    """Go on as after ``iteration`` steps that left ``state``, the momentum of each parameter.

    All else follows from the options.  KeyError or ValueError if a parameter has no momentum, or one of another shape.
    """
    sgd.load_state_dict(sgd.state_dict() | {"state": state})
    for param in sgd.param_groups[0]["params"] if options.momentum and iteration else ():
        if sgd.state[param]["momentum_buffer"].shape != param.shape:
            raise ValueError("the momentum of a parameter has another shape")
    rate = sgd.param_groups[0]["lr"] = options.rate(iteration)
    own = schedule.state_dict()
    steps = {"last_epoch": iteration, "_step_count": own["_step_count"] + iteration, "_last_lr": [rate]}
    schedule.load_state_dict(own | steps)
