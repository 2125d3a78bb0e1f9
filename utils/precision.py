"""Single precision for unit vectors and for sums over millions of pixels, also under autocast."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """``x`` as float32 if it is in half precision, otherwise unchanged (float64 stays)."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def full_precision(device: torch.device) -> AbstractContextManager:
    """Switch autocast off, for code whose inputs are ``at_least_single``."""
    return torch.autocast(device.type, enabled=False)
