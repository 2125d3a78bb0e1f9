"""Functions run in several processes that train as one, as torchrun would start them."""

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
from engine.options.eval_flags import parse_evaluation
from methods import Aggregate, choose_method
from network.batch_norms import join_batch_norms
from network.categorical_memory import CategoricalMemory
from network.deeplab import DeepLab
from optimizer.sgd import build_optimizer
from utils import distributed
from utils.processes import world_size

set_forkserver_preload(["torch", "torchvision.transforms.v2"])  # processes are forked where these are loaded already


def run_ranks(function: Callable[..., Any], world: int, folder: Path, *args: Any) -> list[Any]:
    """What ``function(*args)`` returns in each of ``world`` processes; ``folder`` is for passing it on."""
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


def small_method(backbone: Callable[[], nn.Module], *, mldg: bool, memory: bool, **options: Any) -> Aggregate:
    """The method on a network in double precision, without drop-out and noise: the same in every process."""
    torch.manual_seed(0)
    net = DeepLab(backbone(), 19, memory=CategoricalMemory(19) if memory else None)
    for module in net.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    net = net.double().train()
    if world_size() > 1:
        net = join_batch_norms(net, torch.device("cpu"))
    options |= {"gumbel": False} if memory else {}
    sgd = build_optimizer(net, lr=0.01, momentum=0.9, weight_decay=5e-4, schedule="exp", exponent=9, horizon=100)
    return choose_method(mldg=mldg, memory=memory)(net, *sgd, **options)


def evaluate_and_tell(lines: list[list[str]]) -> str:
    """What eval.py prints in one of several processes that do as the command lines say, one after the other."""
    assert not {"matplotlib", "openTSNE", "sklearn"} & set(sys.modules)  # scores do without
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for argv in lines:
            evaluate(parse_evaluation(argv))
    return out.getvalue()
