"""From options to parts: network, method, data loaders."""

from dataclasses import asdict
from typing import Any

import torch
from torch.utils.data import DataLoader

from datasets import packed
from datasets.labels import ClassSet
from datasets.options import BOOSTED
from datasets.sampling.loaders import Domains, train_loader
from datasets.shared_classes import shared_classes
from datasets.transforms import Augmentation
from engine.data_report import coarse_pairs
from engine.options.training_options import TrainingOptions
from methods.method import Method
from methods.objective import Objective
from methods.whitening_term import whitening_term
from network.categorical_memory import CategoricalMemory
from network.deeplab import DeepLab, build_network
from network.options import NetworkOptions
from optimizer.optimizers import build_optimizer
from utils.processes import rank


def network_config(options: NetworkOptions, classes: ClassSet, *, memory: bool) -> dict[str, Any]:
    """The description of a network that checkpoints hold; ``network_from`` rebuilds the network from it."""
    slots = options.slots or len(classes)
    names = ("dim", "momentum", "read_temp", "centred", "residual")
    items = {"slots": slots} | {name: getattr(options, name) for name in names}
    return {
        "arch": options.arch,
        "num_classes": len(classes),
        "classes": classes.as_config(),
        "output_stride": options.output_stride,
        "aux": options.aux,
        "wt_layer": list(options.wt_layer),
        "dim": options.dim,
        "decoder_dim": options.decoder_dim,
        "memory": items if memory else None,
        "image_in": options.image_in,
        "tune": options.tune,
        "norms": options.norms,
    }


def network_from(config: dict[str, Any], *, pretrained: str = "none") -> DeepLab:
    """The network of a description, on the CPU."""
    settings = {key: value for key, value in config.items() if key not in ("classes", "memory", "frozen")}
    memory = None
    if config["memory"]:
        with torch.random.fork_rng(devices=[]):  # networks with and without memory start from the same weights
            memory = CategoricalMemory(**config["memory"])
    net = build_network(**settings, memory=memory, pretrained=pretrained)
    return net.to(memory_format=torch.channels_last)  # the faster layout for convolutions


def outline(options: TrainingOptions) -> DeepLab:
    """The network of a run without values, on torch's "meta" device."""
    classes = shared_classes([*options.run.sources, *options.run.targets])
    with torch.device("meta"):
        return network_from(network_config(options.network, classes, memory=options.entry.memory))


def build_method(options: TrainingOptions, net: DeepLab) -> Method:
    optimizer, scheduler = build_optimizer(net, options.optimizer)
    objective = Objective(
        options.segmentation,
        whitening=whitening_term(options.whitening),
        scheduler=scheduler,
        pixels=torch.zeros_like(net.classifier.bias, dtype=torch.int64),
    )
    method = options.entry.load()
    settings = {"options": options.method, "parts": options.step.parts, "clip": options.optimizer.clip}
    return method(net, optimizer, scheduler, objective=objective, **settings)


def training_domains(options: TrainingOptions) -> Domains:
    """The training images of all sources, without class-uniform sampling."""
    data, sampling = options.data, options.sampling
    names = options.run.sources  # a name may stand there more than once
    pairs = {name: (data.dataset(name), data.dataset(name).pairs(data.root, "train")) for name in names}
    sources = [pairs[name] for name in names]
    extra = [(data.dataset(BOOSTED), coarse_pairs(data))] if sampling.boosted_classes else []
    copies = {}
    for dataset, samples in (*sources, *extra):
        copies |= packed.find(data.root, dataset, samples)
    return Domains(
        sources,
        Augmentation(**asdict(options.augmentation)),
        options.run.seed,
        rank(),
        extra=extra,
        copies=copies,
        joined=sampling.joined,
        skip_bad=sampling.skip_bad,
    )


def training_batches(options: TrainingOptions, domains: Domains, device: torch.device, start: int) -> DataLoader:
    """The batches of the iterations from ``start`` on.

    A negative ``start`` yields the batches for the first memory, without roles: training draws none of them.
    """
    mldg = options.entry.mldg and start >= 0
    return train_loader(
        domains,
        batch_size=options.sampling.batch_size,
        start=start,
        stop=options.run.max_iter if start >= 0 else 0,
        meta=mldg,
        meta_aug=options.sampling.meta_aug if mldg else "none",
        workers=options.machine.workers,
        pin_memory=device.type == "cuda",
    )
