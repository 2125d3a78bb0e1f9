"""Run functions in several processes that train together, as torchrun starts them."""

import contextlib
import io
import os
import socket
import sys
from collections.abc import Callable
from multiprocessing import set_forkserver_preload
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing, nn

from engine.evaluating.assessment import evaluate
from engine.options.evaluation_options import parse_evaluation
from methods import METHODS
from methods.method import Method
from network.batch_norms import join_batch_norms
from network.categorical_memory import CategoricalMemory
from network.deeplab import DeepLab
from optimizer.schedules import OptimizerOptions
from support.methods import method_on
from utils import distributed
from utils.processes import world_size

set_forkserver_preload(["torch", "torchvision"])  # new processes are forked with these already loaded


def run_ranks(function: Callable[..., Any], world: int, folder: Path, *args: Any) -> list[Any]:
    """The results of ``function(*args)`` in ``world`` processes, which pass them through files in ``folder``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = world, port, folder, function, args
    multiprocessing.start_processes(_rank, arguments, nprocs=world, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]


def _rank(rank: int, world: int, port: int, folder: Path, function: Callable[..., Any], args: tuple) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.start(torch.device("cpu"))
    try:
        torch.save(function(*args), folder / f"{rank}.pt")
    finally:
        distributed.stop()


def small_method(backbone: Callable[[], nn.Module], name: str, *, device: str = "cpu", **options: Any) -> Method:
    """The method on a network in double precision, without drop-out and noise: the same in every process."""
    torch.manual_seed(0)
    net = DeepLab(backbone(), 19, memory=CategoricalMemory(19) if METHODS[name].memory else None)
    for module in net.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    net = net.double().to(device).train()
    if world_size() > 1:
        net = join_batch_norms(net, torch.device(device))
    return method_on(net, name, optimizer=OptimizerOptions(exponent=9, horizon=100), gumbel=False, **options)


def evaluate_and_tell(lines: list[list[str]]) -> str:
    """The output of eval.py in one process, for several command lines one after the other."""
    assert not {"matplotlib", "openTSNE", "sklearn"} & set(sys.modules)  # none is loaded before it is needed
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for argv in lines:
            evaluate(parse_evaluation(argv))
    return out.getvalue()
