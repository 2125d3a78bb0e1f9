"""SGD or AdamW with its learning-rate schedule."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from network.tuning import layers_of
from optimizer.schedules import OptimizerOptions


def build_optimizer(net: nn.Module, options: OptimizerOptions) -> tuple[Optimizer, LambdaLR]:
    """The optimizer of all parameters that train, and its schedule, which steps once per iteration."""
    params = [param for param in net.parameters() if param.requires_grad]
    settings = {"lr": options.lr, "weight_decay": options.weight_decay}
    settings["fused"] = all(param.is_cuda for param in params) or None  # one kernel
    groups = by_layer(net, options) if options.layer_decay < 1 else params
    if options.optimizer == "adamw":
        optimizer = AdamW(groups, **settings)
    else:
        optimizer = SGD(groups, momentum=options.momentum, **settings)
    return optimizer, LambdaLR(optimizer, lambda iteration: options.factor(iteration))


def by_layer(net: nn.Module, options: OptimizerOptions) -> list[dict[str, Any]]:
    """The parameters that train, in groups with the learning rate of their depth.

    Block l of the encoder's L blocks has the heads' rate times d^(L + 1 - l); l is 0 in the stem.
    """
    backbone = net.encoder.backbone
    layers, depth = layers_of(backbone)
    places = {id(param): layers[name] for name, param in backbone.named_parameters()}
    groups: dict[int, list[nn.Parameter]] = {}
    for param in net.parameters():
        if param.requires_grad:
            groups.setdefault(places.get(id(param), depth + 1), []).append(param)
    rate, decay = options.lr, options.layer_decay
    return [{"params": group, "lr": rate * decay ** (depth + 1 - layer)} for layer, group in groups.items()]


def go_on(
    optimizer: Optimizer, schedule: LambdaLR, state: Mapping[int, Any], options: OptimizerOptions, iteration: int
) -> None:
    """Go on as after ``iteration`` steps that left ``state``, the momentum of each parameter.

    All else follows from the options.  KeyError or ValueError if a parameter has no momentum, or one of another shape.
    """
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    kept = "exp_avg" if options.optimizer == "adamw" else "momentum_buffer" if options.momentum else ""
    for param in [param for group in optimizer.param_groups for param in group["params"]] if kept and iteration else ():
        if optimizer.state[param][kept].shape != param.shape:
            raise ValueError("the momentum of a parameter has another shape")
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * options.factor(iteration)
    own, rates = schedule.state_dict(), [group["lr"] for group in optimizer.param_groups]
    steps = {"last_epoch": iteration, "_step_count": own["_step_count"] + iteration, "_last_lr": rates}
    schedule.load_state_dict(own | steps)
