"""The methods by name, with their options.  Imports no torch: a method's class is loaded when training starts.

A new method is a file with a subclass of ``methods.method.Method`` and one entry in ``METHODS``.
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils.options import FACTOR, WEIGHT, option

if TYPE_CHECKING:
    from methods.method import Method


@dataclass(frozen=True)
class BaselineOptions:
    """The baseline has no options of its own."""


@dataclass(frozen=True)
class MLDGOptions:
    """Options of meta-learning."""

    inner_lr: float = option(1e-3, "step of the look-ahead", type=FACTOR)
    inner_lr_anneal: bool = option(False, "step by a quarter of the learning rate, from the second iteration on")
    meta_split: str = option(
        "domains",
        "what is divided into meta-train and meta-test: the domains, the images of each, or nothing (all: both)",
        by_recipe=True,
        choices=("domains", "images", "all"),
    )
    meta_mean: bool = option(False, "step along the mean of both gradients, not along their sum", by_recipe=True)


@dataclass(frozen=True)
class MemoryOptions:
    """Options of the memory's losses and of its reads in training."""

    cohesion: float = option(0.02, "weight of feature cohesion", flag="mem_readloss", by_recipe=True, type=WEIGHT)
    divergence: float = option(0.4, "weight of memory divergence", flag="mem_divloss", type=WEIGHT)
    classification: float = option(0.2, "weight of item classification", flag="mem_clsloss", type=WEIGHT)
    temperature: float = option(1.0, "temperature of feature cohesion", flag="mem_temp", by_recipe=True, type=FACTOR)
    gumbel: bool = option(True, "no Gumbel noise in any memory read", flag="gumbel_off", by_recipe=True)


@dataclass(frozen=True)
class PinMemOptions(MemoryOptions, MLDGOptions):
    """Options of Pin the Memory: those of the memory and those of meta-learning."""


@dataclass(frozen=True)
class MethodEntry:
    """What the programs know about a method before they load it."""

    title: str  # for people
    path: str  # module and class; the module needs torch
    options: type = BaselineOptions  # a dataclass whose fields are flags
    mldg: bool = False  # whether each iteration splits the domains into meta-train and meta-test
    memory: bool = False  # whether the network has a memory
    pooled: bool = False  # whether every pass takes images of all domains, never of one alone

    def load(self) -> "type[Method]":
        module, _, name = self.path.rpartition(".")
        return getattr(importlib.import_module(module), name)


METHODS: dict[str, MethodEntry] = {
    "baseline": MethodEntry("the baseline", "methods.baseline.Baseline", pooled=True),
    "mldg": MethodEntry("MLDG", "methods.mldg.MLDG", MLDGOptions, mldg=True),
    "memory": MethodEntry(
        "the memory without meta-learning", "methods.pinmem.MemoryOnly", MemoryOptions, memory=True, pooled=True
    ),
    "pinmem": MethodEntry("Pin the Memory", "methods.pinmem.PinMem", PinMemOptions, mldg=True, memory=True),
}


def method_name(*, mldg: bool, memory: bool) -> str:
    """The method that the flags ``--mldg`` and ``--memory`` of the authors' release choose."""
    return next(name for name, entry in METHODS.items() if (entry.mldg, entry.memory) == (mldg, memory))
