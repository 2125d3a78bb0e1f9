"""Numbers computed with the authors' release on weights and inputs made by rule; the rules are repeated here."""

import os
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from checkpoints.release_format import to_release
from network.categorical_memory import CategoricalMemory
from network.deeplab import DeepLab, build_network

HERE = Path(__file__).parent.parent
FOLDERS = [HERE / "golden", Path(os.environ.get("PINMEM_GOLDEN", HERE.parent.parent / "shared" / "golden"))]


ARCHS = {
    "r18v3p": "DeepR18V3PlusD", "r50v3p": "DeepR50V3PlusD", "r101v3p": "DeepR101V3PlusD", "r50v3": "DeepR50V3D",
    "r50v2": "DeepR50V2D", "r101v2": "DeepR101V2D", "mobile": "DeepMobileNetV3PlusD",
    "shuffle": "DeepShuffleNetV3PlusD", "resnext50": "DeepResNext50V3PlusD", "resnext101": "DeepResNext101V3PlusD",
    "wide50": "DeepWideResNet50V3PlusD", "wide101": "DeepWideResNet101V3PlusD", "mnas05": "DeepMNASNet05V3PlusD",
    "mnas10": "DeepMNASNet10V3PlusD",
}  # fmt: skip
NORMS = {"irw": 1, "isw": 2, "in": 3, "ibn": 4}


class Net(NamedTuple):
    """What a name of the goldens means, e.g. r50v3p_os8_mem."""

    arch: str
    memory: bool
    wt_layer: tuple[int, ...]

    def build(self) -> DeepLab:
        memory = CategoricalMemory(19) if self.memory else None
        return build_network(self.arch, 19, memory=memory, wt_layer=self.wt_layer)


def net_called(name: str) -> Net:
    first, *rest = name.split("_")
    stride = next((f"_{word.upper()}" for word in rest if word.startswith("os")), "")
    norm = next((NORMS[word] for word in rest if word in NORMS), 0)
    return Net(ARCHS[first] + stride, "mem" in rest, (0, 0, norm, norm, norm, 0, 0))


def golden_path(name: str) -> Path:
    """The file ``name``, from the project's own copies or from the whole set; the test is skipped without it."""
    for folder in FOLDERS:
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"golden {name} is not in tests/golden nor in PINMEM_GOLDEN")


class Recorded(np.ndarray):
    """An array of a golden; it and its parts know which one they are from."""

    origin = ""

    def __array_finalize__(self, other: object) -> None:
        self.origin = getattr(other, "origin", "")


@cache
def load(name: str) -> dict[str, np.ndarray]:
    arrays = {key: value.view(Recorded) for key, value in np.load(golden_path(f"{name}.npz")).items()}
    for value in arrays.values():
        value.origin = name
    return arrays


@cache  # drawing the 45 million numbers of a network takes seconds
def seeded(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of the release's entry ``key``: a function of name and shape only."""
    r = np.random.RandomState(zlib.crc32(key.encode())).randn(*shape)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("m_items"):
        r /= np.linalg.norm(r, axis=1, keepdims=True)
    elif key.endswith("running_var"):
        r = 1 + 0.1 * np.abs(r)
    elif key.endswith("running_mean"):
        r = 0.1 * r
    elif len(shape) == 4:
        r = (r - r.mean((1, 2, 3), keepdims=True)) * np.sqrt(2.0 / np.prod(shape[1:]))
    elif len(shape) == 2:
        r = 0.05 * r
    elif key.endswith("weight"):
        r = (0.2 if key.endswith("bn3.weight") else 1.0) * (1 + 0.1 * r)
    else:
        r = 0.1 * r
    return r.astype(np.float32)


def seed_weights(net: nn.Module, prefix: str = "") -> nn.Module:
    """Fill ``net`` in place by the rule and switch its dropout off; ``prefix`` is where it stands in a network."""
    state = {}
    for key, value in net.state_dict().items():
        state[key] = torch.from_numpy(np.asarray(seeded(to_release(prefix + key), tuple(value.shape))))
    net.load_state_dict(state)
    for module in net.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return net


def make_images(seed: int, count: int, height: int, width: int, cell: int = 24, noise: float = 0.25) -> np.ndarray:
    r = np.random.RandomState(seed)
    coarse = r.randn(count, 3, -(-height // cell), -(-width // cell))
    coarse = np.repeat(np.repeat(coarse, cell, 2), cell, 3)[:, :, :height, :width]
    return (2 * (coarse + noise * r.randn(count, 3, height, width))).astype(np.float32)


def make_labels(seed: int, count: int, height: int, width: int, cell: int, classes: list[int]) -> np.ndarray:
    r = np.random.RandomState(seed)
    coarse = np.asarray(classes)[r.randint(0, len(classes), (count, -(-height // cell), -(-width // cell)))]
    coarse[r.rand(*coarse.shape) < 0.1] = 255
    return np.repeat(np.repeat(coarse, cell, 1), cell, 2)[:, :height, :width].astype(np.int64)


def probe(key: str, tensor: Tensor) -> float:
    """A signed random projection of a parameter's tensor, which sees what a norm does not."""
    q = np.random.RandomState(zlib.crc32((key + "#probe").encode())).randn(*tensor.shape)
    return float((tensor.double().numpy() * q).sum() / np.sqrt(tensor.numel()))


class Comparison(NamedTuple):
    """How far we are from a golden, and how far we may be, both relative."""

    golden: str
    what: str
    error: float
    allowed: float


RECORDER: ContextVar[Callable[[Comparison], None]] = ContextVar("recorder", default=lambda comparison: None)


def hold(golden: np.ndarray | str, what: str, error: float, allowed: float = 0.0) -> None:
    """Write down how far ``what`` is from ``golden``, one of its arrays or its name, and fail if that is too far."""
    origin = golden if isinstance(golden, str) else getattr(golden, "origin", "")
    RECORDER.get()(Comparison(origin, what, float(error), float(allowed)))
    assert error <= allowed, f"{what}: off by {error:.2e}, allowed {allowed:.0e}"


def assert_close(ours: Tensor | np.ndarray | float, golden: np.ndarray, tolerance: float, what: str = "values") -> None:
    """The largest difference is at most ``tolerance`` times the golden's spread."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(golden, dtype=np.float64)
    assert ours.shape == theirs.shape, f"{what}: {ours.shape} is not {theirs.shape}"
    hold(golden, what, np.abs(ours - theirs).max() / spread_of(theirs), tolerance)


def spread_of(golden: np.ndarray) -> float:
    """Its standard deviation; of one number, or equal ones, their magnitude."""
    return float(golden.std()) or max(float(np.abs(golden).max()), 1e-30)


def assert_norms(ours: np.ndarray, golden: np.ndarray, tolerance: float, what: str) -> None:
    """Each within ``tolerance`` of its own size."""
    theirs = np.asarray(golden, dtype=np.float64)
    hold(golden, what, (np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-30)).max(), tolerance)


def assert_classes(ours: Tensor, golden: dict[str, np.ndarray], share: float) -> None:
    """The most likely class of each pixel is the release's, wherever rounding does not decide which that is."""
    safe = np.unpackbits(golden["safe"], count=golden["argmax"].size).astype(bool).reshape(golden["argmax"].shape)
    assert safe.mean() > share
    hold(golden["argmax"], "most likely classes", (ours.numpy() != golden["argmax"])[safe].mean())
