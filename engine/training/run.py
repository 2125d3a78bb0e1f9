"""A training run from its flags: what it is made of, where it goes on, and how it begins."""

import json
from argparse import Namespace
from collections.abc import Iterable
from contextlib import closing
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from checkpoints.run_files import load_checkpoint, load_weights, publish, remove_partial
from checkpoints.starting import load_start
from checkpoints.understanding import check_classes
from datasets.disk.layouts import some
from datasets.images import LabelledImages
from datasets.sampling.loaders import Domains
from engine import build, machine
from engine import data_report as data
from engine.options.resuming import NOT_KEPT
from engine.plan import whitening
from engine.run_log import RunLog, code_version, create_run_folder
from engine.training.batch_feed import Feed
from engine.training.class_sampling import class_uniform
from engine.training.covariance_selection import Selection
from engine.training.sample_sheets import dumped
from engine.training.trainer import Progress, Trainer
from methods import Aggregate
from network.batch_norms import join_batch_norms
from network.deeplab import DeepLab
from utils import distributed
from utils.distributed import from_first
from utils.errors import UsageError
from utils.files import write_json
from utils.processes import rank, world_size


def train(args: Namespace) -> Path:
    """Train as the flags say, from the start or from ``args.checkpoint``; returns the folder of the run."""
    machine.choose_algorithms(deterministic=args.deterministic)
    device = build.choose_device(args.device)
    machine.keep_memory(device)
    distributed.start(device)
    precision = build.choose_precision(args.amp, device)
    torch.manual_seed(args.seed)
    domains = build.training_domains(args)
    validation, selection = data.validation_sets(args), Selection(args)
    if not args.no_check:
        check_images(args, domains, validation)
    domains = replace(domains, uniform=class_uniform(args, domains))
    classes = data.classes_of(args)
    config = build.network_config(args, classes)
    net = start_network(args, config, device)
    method = build.method_from(args, net)
    facts = {"flags": flags_to_keep(args), "code": code_version(), "network": config, "processes": world_size()}

    progress = restore(args, method, facts) if args.checkpoint else Progress()
    if not distributed.agreed(progress.iteration):
        raise UsageError("--resume: the processes found different checkpoints; --exp_root must be one shared folder")
    batches = build.training_batches(args, domains, device, progress.iteration)
    folder = run_folder(args, facts, domains, selection)
    if rank() == 0:
        announce(args, method, folder, domains, validation)
    if rank() == 0 and args.dump_augmentation_images:
        names = ["all sources"] if domains.joined else [row.name for row, _ in domains.sources]
        batches = dumped(batches, folder, domains=names, start=progress.iteration, classes=classes)
    if args.memory and not (args.checkpoint or args.snapshot):
        feed = Feed(build.initial_batches(args, domains, device), progress.bad_files, args.skip_bad)
        start_memory(args, method, feed, device, precision)
    log = begin_log(folder, progress) if rank() == 0 else None
    try:
        trainer = Trainer(args, method, facts, log, folder, device, precision, progress, selection)
        trainer.run(batches, *validation)
    finally:
        if log is not None:
            log.close()
    if rank() == 0 and progress.bad_files:
        print(f"bad files that were replaced: {len(progress.bad_files)} ({some(list(progress.bad_files))})")
    return folder


def begin_log(folder: Path, progress: Progress) -> RunLog:
    """The log of a run, with what the first memory met, or the log that goes on."""
    log = RunLog(folder, start=progress.iteration, validated=progress.validated)
    if not progress.iteration:
        log.write_bad_files(0, progress.bad_files)
    return log


def start_network(args: Namespace, config: dict[str, Any], device: torch.device) -> DeepLab:
    """The network as training finds it, save for what a run that goes on restores."""
    with distributed.first_on_machine():  # which may download the backbone
        started = args.checkpoint or args.snapshot
        net = build.network_from(config, pretrained="none" if started else args.pretrained_backbone)
    if args.snapshot and not args.checkpoint:
        load_start(net, args, config)
    net = net.to(device).train()
    if args.checkpoint_activations:
        net.encoder.backbone.recompute = True
    if args.compile:
        machine.compile_network(net)
    return join_batch_norms(net, device) if world_size() > 1 else net


def flags_to_keep(args: Namespace) -> dict[str, Any]:
    """The flags that belong to the run, as ``flags.json`` and checkpoints hold them."""
    flags = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    return {key: value for key, value in flags.items() if key not in NOT_KEPT}


def restore(args: Namespace, method: Aggregate, facts: dict[str, Any]) -> Progress:
    """Put ``method`` where it was when ``args.checkpoint`` was written."""
    content = load_checkpoint(args.checkpoint, "--resume")
    check_classes(content["network"], facts["network"], f"--resume {args.checkpoint}")
    try:
        load_weights(method.net, content["weights"], f"--resume {args.checkpoint}")
        method.optimizer.load_state_dict(content["optimizer"])
        method.scheduler.load_state_dict(content["scheduler"])
        if method.whitening is not None:
            method.whitening.load_state_dict(content["whitening"], next(method.net.parameters()).device)
        progress = Progress(**{field.name: ({"bad_files": {}} | content)[field.name] for field in fields(Progress)})
    except (KeyError, ValueError) as error:
        raise UsageError(f"--resume {args.checkpoint}: not the state of a training run ({error})") from error
    if rank() == 0:
        for what in ("code", "processes"):
            if (before := content.get(what)) != facts[what]:
                print(f"note: {what} {before} before, {facts[what]} now: the run may not end as it would have")
        publish(args.checkpoint, best=progress.best_iteration == progress.iteration)  # a kill may have come in between
    return progress


def run_folder(args: Namespace, facts: dict[str, Any], domains: Domains, selection: Selection) -> Path:
    """The folder of the run, made by the first process if it is new, with ``flags.json`` in it."""
    folder = None
    if rank() == 0:
        used = {row.name: data.facts(pairs) for row, pairs in domains.sources}
        used |= {f"{row.name} (coarse)": data.facts(pairs) for row, pairs in domains.extra}
        used |= {f"{images.spec.name} (covariances)": data.facts(images.found) for images in selection.sets}
        if args.checkpoint:
            folder = args.checkpoint.parent
            check_same_images(folder, used)
            remove_partial(folder)
        else:
            folder = create_run_folder(args.exp_root, args.exp)
        write_json(folder / "flags.json", {**facts, "training data": used})
    return from_first(folder)


def check_same_images(folder: Path, used: dict[str, Any]) -> None:
    """The images must be those with which the run was started, else other ones would be drawn."""
    before = json.loads((folder / "flags.json").read_text()).get("training data", {})
    for name, found in used.items():
        if any(found[key] != before.get(name, {}).get(key) for key in ("images", "hash")):
            raise UsageError(
                f"--resume {folder}: the run was started with other images of {name} ({before.get(name)}, now {found})"
                "; put these back, or start a new run"
            )


def check_images(args: Namespace, domains: Domains, validation: Iterable[list[LabelledImages]]) -> None:
    """Stop before the first iteration if images or labels would spoil the run; the first process looks for all."""
    sets = [(row, "train", pairs) for row, pairs in domains.sources]
    sets += [(row, "train_extra", pairs) for row, pairs in domains.extra]
    sets += [(images.spec, images.split, images.found) for images in chain.from_iterable(validation)]
    if told := from_first(data.fault(args, sets) if rank() == 0 else ""):
        raise UsageError(told)


def announce(
    args: Namespace, method: Aggregate, folder: Path, domains: Domains, validation: Iterable[list[LabelledImages]]
) -> None:
    sources = ", ".join(f"{row.name} ({len(pairs):,} images)" for row, pairs in domains.sources)
    parameters = sum(param.numel() for param in method.net.parameters())
    print(f"{type(method).__name__} on {sources}: {args.max_iter:,} iterations, recipe {args.recipe}")
    scored = [(images.spec, images.found) for images in chain.from_iterable(validation)]
    print(data.report([(row.name, pairs) for row, pairs in (*domains.sources, *domains.extra, *scored)]))
    if domains.copies:
        print(f"packed copies of {len(domains.copies):,} images are read in their place")
    print(f"{args.arch}: {parameters:,} parameters; everything is written to {folder}")
    for line in whitening(args):
        print(line)


def start_memory(args: Namespace, method: Aggregate, feed: Feed, device: torch.device, precision: str) -> None:
    batches = (batch.ready(device, image_in=args.image_in) for batch in feed)
    progress = tqdm(batches, "first memory", total=args.mem_init_batches, leave=False, disable=rank() > 0)
    with closing(feed), build.autocast(precision, device):
        method.initialise_memory(progress)
