"""Count the work of a computation on torch's "meta" device, which computes shapes but no numbers.

As on a GPU, its tensors are not the host's, so operations for which the host must wait can be recognised.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "_unique2", "unique_dim", "equal")


class Costs(TorchDispatchMode):
    """Counts passes through a DeepLab, by its first and last convolution, and copies of labels of full ``size``.

    A label copy is a new float or integer tensor of that size that is computed without a float map: one-hot labels,
    labels as floats, a copied part of the labels.  An operation for which the host must wait raises an AssertionError.
    """

    def __init__(self, size: tuple[int, int], classes: int = 19):
        super().__init__()
        self.size, self.classes = size, classes
        self.encoder: list[int] = []  # the number of images in each forward pass
        self.network: list[int] = []
        self.encoder_backward: list[int] = []
        self.network_backward: list[int] = []
        self.label_copies: list[str] = []
        self.calls: Counter[str] = Counter()  # of each operation
        self.uploads: list[tuple[int, ...]] = []  # shapes of tensors that came from the host

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        assert not waits(name, given, kwargs), f"{function}: the host waits for the device"
        self.calls[name] += 1
        result = function(*args, **kwargs)
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        assert not any(x.dtype == torch.float64 for x in made if on_device([x])), f"{function}: MPS has no float64"
        if name in ("_to_copy", "lift_fresh") and not on_device(given) and on_device(made):
            assert kwargs.get("non_blocking", False), f"{function}: the host waits until this is copied"
            self.uploads.append(tuple(made[0].shape))
        if name == "convolution":
            self.count(args[0], args[1], self.encoder, self.network)
        if name == "convolution_backward":
            self.count(args[1], args[2], self.encoder_backward, self.network_backward)
        fresh = all(value.alias_info is None for value in function._schema.returns)
        if fresh and not any(x.is_floating_point() and x.dim() > 2 for x in given):
            self.label_copies += [f"{function} {x.dtype}" for x in made if self.full(x)]
        return result

    def count(self, images: Tensor, weight: Tensor, encoder: list[int], network: list[int]) -> None:
        if weight.shape[1] == 3:
            encoder.append(len(images))
        if tuple(weight.shape[:2]) == (self.classes, 256):  # the auxiliary head has 512 channels there
            network.append(len(images))

    def full(self, x: Tensor) -> bool:
        sizes = list(x.shape)
        return x.dtype != torch.bool and all(sizes.count(side) >= self.size.count(side) for side in self.size)


def on_device(tensors: Sequence[Tensor]) -> bool:
    return any(x.device.type == "meta" for x in tensors)


def waits(name: str, given: Sequence[Tensor], kwargs: dict[str, Any]) -> bool:
    """Whether the host needs a value of the device, or the device needs a tensor of the host.

    Single numbers do not count: they travel with the kernel.
    """
    if not on_device(given):
        return False
    if name in WAITING or (name in ("index", "index_put_") and any(x.dtype == torch.bool for x in given[1:])):
        return True
    if name in ("_to_copy", "copy_"):
        to_host = str(kwargs.get("device", "meta")).startswith("cpu") or given[0].device.type == "cpu"
        return to_host or (name == "copy_" and not on_device(given[1:2]) and given[1].dim() > 0)
    return any(x.device.type == "cpu" and x.dim() > 0 for x in given)
