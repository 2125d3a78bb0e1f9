"""The number of this process among those that ``torchrun`` started, from its environment.  Imports no torch."""

import os


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK") or 0) if world_size() > 1 else 0  # a lone RANK would do the work of nobody


def local_rank() -> int:
    """The number of this process on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK") or 0)


def world_size() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def local_world_size() -> int:
    """The number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1)


def own_cores() -> int:
    """The cores for this process: all processes of a machine share its cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // local_world_size())
