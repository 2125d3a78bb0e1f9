"""The messages of a process to the others, counted."""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from torch import Tensor, distributed

COLLECTIVES = ["all_reduce", "all_gather", "all_gather_into_tensor", "all_gather_object", "reduce_scatter_tensor"]
COLLECTIVES += ["broadcast", "broadcast_object_list", "barrier"]


class Messages:
    """Counts messages inside a ``with`` block.

    ``calls`` and ``bytes`` (of the tensors that this process sends) are by the function that asks for the message, as
    "module.function"; functions of ``utils.distributed`` and of torch are skipped.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        counted = {name: self.counted(getattr(distributed, name)) for name in COLLECTIVES}
        self.patch = patch.multiple(distributed, **counted)

    def __enter__(self) -> "Messages":
        self.patch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.patch.stop()

    def counted(self, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            sender = asking_function()
            self.calls[sender] += 1
            self.bytes[sender] += max((x.nbytes for x in args if isinstance(x, Tensor)), default=0)
            return function(*args, **kwargs)

        return call


def asking_function() -> str:
    frame = sys._getframe(2)
    while frame.f_globals["__name__"].startswith(("torch.", "utils.distributed")):
        frame = frame.f_back
    return f"{frame.f_globals['__name__']}.{frame.f_code.co_name}"
