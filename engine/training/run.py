"""A training run: what it is made of, where it starts or goes on, and what it leaves on disk."""

from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from checkpoints.adoption import check_fits, load_start
from checkpoints.frozen_encoders import completed, frozen_facts
from checkpoints.run_files import check_form, load_checkpoint, load_weights, publish
from datasets.disk.layouts import Pairs, some
from datasets.images import LabelledImages
from datasets.registry import DatasetSpec
from datasets.sampling.loaders import Domains, eval_loader
from datasets.sampling.worker_loader import check_room
from datasets.shared_classes import shared_classes
from engine import build, data_report, machine
from engine.encoder_report import encoder_lines, special_encoder
from engine.evaluating.scoring import scoring_crop
from engine.options.resuming import refuse_edits, run_file
from engine.options.training_options import TrainingOptions
from engine.plan import whitening_lines
from engine.report.page import FILE, report_after
from engine.run_log import RunLog, code_version, create_run_folder
from engine.training.class_sampling import class_uniform
from engine.training.covariance_selection import CovarianceSelection
from engine.training.progress import STATE, Progress
from engine.training.sample_sheets import with_sheets
from engine.training.trainer import Trainer
from methods.method import Method
from network.batch_norms import join_batch_norms
from network.deeplab import DeepLab
from network.recomputing import recompute_in_backward
from optimizer.optimizers import go_on
from utils import distributed
from utils.errors import UsageError
from utils.files import hold, write_json
from utils.log import log
from utils.processes import local_world_size, rank, world_size

Sets = list[tuple[DatasetSpec, str, Pairs]]  # data sets, each with the name of a split and its images


def train_family(family: Sequence[TrainingOptions]) -> list[Path]:
    """Train runs that differ in their seeds, one after the other, except finished ones; return their folders."""
    folders = []
    for number, options in enumerate(family, start=1):
        checkpoint, name = options.run.checkpoint, f"run {number} of {len(family)}, seed {options.run.seed}"
        done = checkpoint is not None and finished(checkpoint, options.run.max_iter)
        log.info(f"{name}: finished, in {checkpoint.parent}" if done else name)
        folders.append(checkpoint.parent if done else train(options))
    return folders


def finished(checkpoint: Path, length: int) -> bool:
    """Whether a run of this length ended with ``checkpoint``: its report is written last."""
    report = checkpoint.with_name(FILE)
    written = report.is_file() and report.stat().st_mtime >= checkpoint.stat().st_mtime
    return written and checkpoint == checkpoint.with_name(f"iteration_{length:07d}.pth")


def train(options: TrainingOptions) -> Path:
    """Train from the start, or from the checkpoint of the run that goes on; return the folder of the run."""
    run = options.run
    machine.choose_algorithms(deterministic=options.step.deterministic)
    device = machine.choose_device(options.machine.device)
    machine.keep_memory(device)
    distributed.start(device)
    precision = machine.choose_precision(options.machine.amp, device)
    torch.manual_seed(run.seed)
    domains = build.training_domains(options)
    validation = data_report.validation_sets(options.data, run)
    selection = CovarianceSelection(options)
    sets = image_sets(domains, validation)
    if run.check:
        data_report.check_images(sets, options.data, skip_bad=options.sampling.skip_bad)
    domains = replace(domains, uniform=class_uniform(options, domains))
    classes = shared_classes([*run.sources, *run.targets])
    config = build.network_config(options.network, classes, memory=options.entry.memory)
    net = start_network(options, config, device)
    # The weights of a frozen encoder can be read again where they came from; those of a snapshot are kept.
    read_again = options.network.pretrained_backbone != "none" and not run.snapshot and not run.checkpoint
    config["frozen"] = frozen_facts(net, options.network.pretrained_backbone) if read_again else None
    method = build.build_method(options, net)
    facts = {"flags": options.flags, "code": code_version(), "network": config, "processes": world_size()}
    progress = restore(run.checkpoint, method, options, facts) if run.checkpoint else Progress()
    batches = build.training_batches(options, domains, device, progress.iteration)
    scoring = [
        eval_loader(images, workers=options.machine.workers, crop=scoring_crop(images, options.scoring))
        for images in chain.from_iterable(validation.values())
    ]
    check_room(batches, max(scoring, key=lambda loader: loader.shared_bytes), processes=local_world_size())
    if not distributed.agreed(progress.iteration):
        raise UsageError("--resume: the processes see different checkpoints; --exp_root must be one shared folder")
    folder = run_folder(options, facts, domains, selection)
    announce(options, method, folder, sets, copies=len(domains.copies))
    if rank() == 0 and run.dump_samples:
        batches = with_sheets(batches, folder, domains, start=progress.iteration)
    done = {"start": progress.iteration, "validated": progress.validated}
    tracked = {"tracker": run.tracker, "flags": options.flags}
    with hold(folder), closing(RunLog(folder, **done, **tracked)) if rank() == 0 else nullcontext() as log_of_run:
        parts = device, precision, progress, selection, validation
        trainer = Trainer(options, method, facts, log_of_run, folder, *parts)
        if options.entry.memory and not run.checkpoint and (not run.snapshot or "memory" in run.fresh):
            trainer.write_memory(build.training_batches(options, domains, device, -run.first_memory_batches))
        trainer.run(batches)
    if rank() == 0:
        report_after(folder)
    if progress.bad_files:
        log.info(f"bad files that were replaced: {len(progress.bad_files)} ({some(list(progress.bad_files))})")
    return folder


def image_sets(domains: Domains, validation: dict[str, list[LabelledImages]]) -> Sets:
    """All images of a run: those to train on, then those to validate on."""
    sets = [(dataset, "train", pairs) for dataset, pairs in domains.sources]
    sets += [(dataset, "train_extra", pairs) for dataset, pairs in domains.extra]
    return sets + [(images.spec, images.split, images.found) for images in chain.from_iterable(validation.values())]


def start_network(options: TrainingOptions, config: dict[str, Any], device: torch.device) -> DeepLab:
    """The network at the start of training; a run that goes on restores its weights later."""
    run = options.run
    pretrained = "none" if run.checkpoint or run.snapshot else options.network.pretrained_backbone
    with distributed.first_on_machine():  # the first process may download the backbone
        net = build.network_from(config, pretrained=pretrained)
    if run.snapshot and not run.checkpoint:
        load_start(net, run.snapshot, config, fresh=run.fresh)
    net = net.to(device).train()
    if options.step.recompute:
        recompute_in_backward(net.encoder.backbone.blocks)
    if options.step.compile:
        machine.compile_network(net)
    return join_batch_norms(net, device) if world_size() > 1 else net


def restore(checkpoint: Path, method: Method, options: TrainingOptions, facts: dict[str, Any]) -> Progress:
    """Put ``method`` into the state in which it was when ``checkpoint`` was written."""
    name = f"--resume {checkpoint}"
    content = {"bad_files": {}} | load_checkpoint(checkpoint, "--resume")  # older checkpoints have no bad files
    check_form(content, STATE, name)
    frozen, source = content["network"].get("frozen"), options.network.pretrained_backbone
    if source == content["flags"].get("pretrained_backbone", source):
        source = frozen and frozen["source"]
    elif not frozen:
        raise UsageError(f"{name}: holds all weights of its backbone; leave out --pretrained_backbone")
    content = completed(content, name, pretrained=source)
    refuse_edits(checkpoint.parent, content["flags"])
    check_fits(content["network"], facts["network"], name)
    progress = Progress(**{field.name: content[field.name] for field in fields(Progress)})
    whitening = method.objective.whitening
    try:
        load_weights(method.net, content["weights"], name)
        facts["network"]["frozen"] = frozen and frozen_facts(method.net, source)
        go_on(method.optimizer, method.scheduler, content["optimizer"]["state"], options.optimizer, progress.iteration)
        if whitening is not None:
            whitening.load_state_dict(content["whitening"], next(method.net.parameters()).device)
        if options.segmentation.logit_adjust:
            method.objective.pixels.copy_(content["pixels"])
    except (KeyError, ValueError) as error:
        raise UsageError(f"{name}: not the state of a training run ({error})") from error
    for key in ("code", "processes"):
        if (before := content.get(key)) != facts[key]:
            log.info(f"note: {key} {before} before, {facts[key]} now: the run may not end as it would have")
    if rank() == 0:
        publish(checkpoint, best=progress.best_iteration == progress.iteration)  # a kill may have prevented it
    return progress


def run_folder(
    options: TrainingOptions, facts: dict[str, Any], domains: Domains, selection: CovarianceSelection
) -> Path:
    """The folder of the run, with ``flags.json`` in it; the first process makes it if the run is new."""
    folder = None
    if rank() == 0:
        used = {dataset.name: data_report.facts(pairs) for dataset, pairs in domains.sources}
        used |= {f"{dataset.name} (coarse)": data_report.facts(pairs) for dataset, pairs in domains.extra}
        used |= {f"{images.spec.name} (covariances)": data_report.facts(images.found) for images in selection.sets}
        if options.run.checkpoint:
            folder = options.run.checkpoint.parent
            check_same_images(folder, used)
        else:
            folder = create_run_folder(options.run.exp_root, options.run.exp)
        write_json(folder / "flags.json", {**facts, "training data": used})
    return distributed.from_first(folder)


def check_same_images(folder: Path, used: dict[str, Any]) -> None:
    """UsageError if the images are not those with which the run was started: other samples would be drawn."""
    before = run_file(folder).get("training data", {})
    for name, now in used.items():
        if any(now[key] != before.get(name, {}).get(key) for key in ("images", "hash")):
            raise UsageError(
                f"--resume {folder}: the run was started with other images of {name} ({before.get(name)}, now {now}); "
                "put these back, or start a new run"
            )


def announce(options: TrainingOptions, method: Method, folder: Path, sets: Sets, *, copies: int) -> None:
    log.info(f"{type(method).__name__}: {options.run.max_iter:,} iterations, recipe {options.run.recipe}")
    log.info(data_report.report([(dataset.name, pairs) for dataset, _, pairs in sets]))
    if copies:
        log.info(f"packed copies of {copies:,} images are read in their place")
    parameters = sum(param.numel() for param in method.net.parameters())
    log.info(f"{options.network.arch}: {parameters:,} parameters; everything is written to {folder}")
    for line in encoder_lines(method.net, options.network) if special_encoder(options.network) else ():
        log.info(line)
    for line in whitening_lines(options):
        log.info(line)
