"""Where half precision must not reach: unit vectors and sums over millions of pixels."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """``x`` in float32 if it is in half precision, else as it is (float64 stays)."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def full_precision(device: torch.device) -> AbstractContextManager:
    """Autocast off, for code that has made its inputs ``at_least_single``."""
    return torch.autocast(device.type, enabled=False)
