"""From flags to parts: device, precision, network, method, data."""

from argparse import Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils.data import DataLoader

from datasets import packed
from datasets.images import LabelledImages
from datasets.labels import ClassSet
from datasets.pyramid import Pyramid
from datasets.sampling.loaders import Domains, eval_loader, train_loader
from datasets.transforms import Augmentation
from engine.data_report import coarse_pairs, data_set, scoring_crop
from engine.objective import pixel_losses, whitening_term
from engine.options.data_flags import BOOSTED
from methods import Aggregate, choose_method
from network.categorical_memory import CategoricalMemory
from network.deeplab import DeepLab, build_network
from optimizer.sgd import build_optimizer
from utils.errors import UsageError
from utils.processes import local_rank, rank, world_size


def choose_device(name: str) -> torch.device:
    """The device of this process: under ``torchrun`` every process of a machine has a GPU of its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and world_size() > 1:
        name = f"cuda:{local_rank()}"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"--device {name}: not usable here ({str(error).splitlines()[0]}); try --device cpu"
        ) from error
    return device


def choose_precision(amp: str, device: torch.device) -> str:
    """What ``amp`` means here: 'bf16', 'tf32' or 'off'.  Without 'tf32', which only CUDA devices have, float32 is true
    float32 from now on."""
    on_cuda = device.type == "cuda"
    usual = {"auto": "bf16" if on_cuda else "off", "tf32": "tf32" if on_cuda else "off"}
    precision = usual.get(amp, amp)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return precision


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context in which the network runs, without its cache of cast weights: that would outlive the optimizer's
    step within one training step."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def network_config(args: Namespace, classes: ClassSet) -> dict[str, Any]:
    """What rebuilds the network without flags, and what it tells apart; stored in every checkpoint."""
    slots = args.mem_slot or len(classes)
    memory = {"slots": slots, "dim": args.mem_dim, "momentum": args.mem_momentum, "read_temp": args.read_temp}
    return {
        "arch": args.arch,
        "num_classes": len(classes),
        "classes": classes.as_config(),
        "output_stride": args.output_stride,
        "aux": not args.no_aux_loss,
        "wt_layer": args.wt_layer,
        "dim": args.mem_dim,
        "memory": memory if args.memory else None,
        "image_in": args.image_in,
    }


def network_from(config: dict[str, Any], *, pretrained: str = "none") -> DeepLab:
    about = ("image_in", "classes")  # what is done to its images, and how its classes are called, is not it
    config = {key: value for key, value in config.items() if key not in about}
    memory = config.pop("memory")
    with torch.random.fork_rng(devices=[]):  # so that networks with and without memory start from the same weights
        memory = memory and CategoricalMemory(**memory)
    net = build_network(**config, memory=memory, pretrained=pretrained)
    return net.to(memory_format=torch.channels_last)  # convolutions are faster so, on CPUs and GPUs


def method_from(args: Namespace, net: DeepLab) -> Aggregate:
    optimizer, scheduler = build_optimizer(
        net,
        lr=args.lr,
        momentum=args.momentum,
        weight_decay=args.weight_decay,
        schedule=args.lr_schedule,
        exponent=args.poly_exp,
        horizon=args.decay_horizon,
    )
    options: dict[str, Any] = {**pixel_losses(args, scheduler, classes=net.classifier.out_channels)}
    options |= {"whitening": whitening_term(args, net.encoder), "parts": args.accumulate}
    if args.mldg:
        options |= {"inner_lr": args.inner_lr, "anneal": args.inner_lr_anneal}
    if args.memory:
        options |= {
            "cohesion": args.mem_readloss,
            "divergence": args.mem_divloss,
            "classification": args.mem_clsloss,
            "temperature": args.mem_temp,
            "gumbel": not args.gumbel_off,
        }
    return choose_method(mldg=args.mldg, memory=args.memory)(net, optimizer, scheduler, **options)


def training_domains(args: Namespace) -> Domains:
    rows = {name: data_set(args, name) for name in args.dataset}
    found = {name: (row, row.pairs(args.data_root, "train")) for name, row in rows.items()}
    sources, copies = [found[name] for name in args.dataset], {}
    extra = [(data_set(args, BOOSTED), coarse_pairs(args))] if args.coarse_boost_classes else []
    for row, samples in (*sources, *extra):
        copies |= packed.find(args.data_root, row, samples)
    drawn = {"joined": args.image_uniform_sampling, "skip_bad": args.skip_bad}
    return Domains(sources, augmentation(args), args.seed, rank(), extra=extra, copies=copies, **drawn)


def augmentation(args: Namespace) -> Augmentation:
    return Augmentation(
        crop_size=args.crop_size,
        scale_min=args.scale_min,
        scale_max=args.scale_max,
        pad=not args.crop_nopad,
        rotate=args.rrotate,
        color_aug=args.color_aug,
        gblur=args.gblur,
        bblur=args.bblur,
        pre_size=args.pre_size,
    )


def training_batches(args: Namespace, domains: Domains, device: torch.device, start: int) -> DataLoader:
    """The batches of the iterations from ``start`` on."""
    return train_loader(
        domains,
        batch_size=args.bs_mult,
        start=start,
        stop=args.max_iter,
        meta=args.mldg,
        meta_aug=args.meta_aug if args.mldg else None,
        workers=args.num_workers,
        pin_memory=device.type == "cuda",
    )


def initial_batches(args: Namespace, domains: Domains, device: torch.device) -> DataLoader:
    """Batches for the first memory: without roles, and before iteration 0, so that training sees none of them."""
    return train_loader(
        domains,
        batch_size=args.bs_mult,
        start=-args.mem_init_batches,
        stop=0,
        workers=args.num_workers,
        pin_memory=device.type == "cuda",
    )


def evaluation_batches(
    args: Namespace, images: LabelledImages, *, indices: Sequence[int], pyramid: Pyramid
) -> DataLoader:
    """The images with ``indices``, one by one, each in the further sizes that ``pyramid`` tells."""
    return eval_loader(
        images,
        workers=args.num_workers,
        crop=scoring_crop(args, images),
        mapillary_pad=args.mapillary_pad,
        indices=indices,
        pyramid=pyramid,
    )
