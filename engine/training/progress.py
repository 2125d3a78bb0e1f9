"""What a checkpoint holds beside the network."""

import math
from dataclasses import dataclass, field

from torch import Tensor

from utils.forms import ANYTHING, WHOLE

# The form (utils/forms.py) of a checkpoint.
COUNTS = {"iteration": WHOLE, "validated": WHOLE, "best_iteration": WHOLE}
MOMENTS = {name: (..., Tensor) for name in ("momentum_buffer", "exp_avg", "exp_avg_sq", "step")}
OPTIMIZER = {"state": {int: MOMENTS | {str: object}}, str: object}
WHITENING = {"masks": (None, [Tensor]), "taken": WHOLE}
OTHERS = {"validation": ANYTHING, "best": float, "bad_files": {str: str}, str: object}
STATE = {"optimizer": OPTIMIZER, "whitening": (..., WHITENING), "pixels": (..., Tensor)} | COUNTS | OTHERS


@dataclass
class Progress:
    """The state of a run besides weights; every checkpoint holds it."""

    iteration: int = 0  # iterations done
    validated: int = 0  # the iteration of the last validation
    validation: dict[str, float] = field(default_factory=dict)  # mIoU by domain in that validation
    best: float = -math.inf  # the highest mean mIoU of the held-out source images
    best_iteration: int = 0
    bad_files: dict[str, str] = field(default_factory=dict)  # replaced images -> what is wrong with each
