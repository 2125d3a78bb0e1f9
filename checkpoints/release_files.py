"""The checkpoints of the authors' release, and of RobustNet on which it builds: what is in them, read and written."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from checkpoints.release_names import ITEMS, as_release, to_ours

FACTS = ("epoch", "mean_iu")  # numbers that tell how far a run was; the release's loader needs both


class ReleaseFile(NamedTuple):
    kind: str  # 'release', or 'bare' for a state dict alone
    weights: dict[str, Tensor]  # by our names; what has none of ours has its own still
    facts: dict[str, float]


def parse_release(content: Any) -> ReleaseFile | None:
    """What a file of the release, or a bare state dict with its names, holds; None if it is neither."""
    if not isinstance(content, Mapping):
        return None
    kind, state = ("release", content["state_dict"]) if "state_dict" in content else ("bare", content)
    if not isinstance(state, Mapping) or not state or not all(map(is_entry, state.items())):
        return None
    weights = {ours_or_own(key): value for key, value in state.items()}
    if len(weights) < len(state):  # with and without the prefix: which of them counts, nothing tells
        return None
    if kind == "bare":
        return ReleaseFile(kind, weights, {})
    if isinstance(content.get("memory"), Tensor):
        weights[ITEMS] = content["memory"]
    facts = {key: content[key] for key in FACTS if isinstance(content.get(key), int | float)}
    return ReleaseFile(kind, weights, facts)


def is_entry(item: tuple[Any, Any]) -> bool:
    key, value = item
    return isinstance(key, str) and isinstance(value, Tensor) and not value.is_complex()


def ours_or_own(key: str) -> str:
    try:
        return to_ours(key)
    except KeyError:
        return key


def release_content(weights: Mapping[str, Tensor], *, epoch: float = 0, mean_iu: float = 0) -> dict[str, Any]:
    """What a file of the release with these weights holds: the memory beside the state dict, an optimizer and a
    schedule that never stepped."""
    state, items = as_release(weights)
    content: dict[str, Any] = {"state_dict": state, "optimizer": {"state": {}, "param_groups": []}, "scheduler": {}}
    content |= {"epoch": epoch, "mean_iu": mean_iu}
    return content if items is None else content | {"memory": items}
