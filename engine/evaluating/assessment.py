"""What ``eval.py`` does with a checkpoint: score it on labelled domains, label a folder of images, or draw figures."""

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from checkpoints.adoption import as_ours, classes_in
from checkpoints.run_files import load_weights, read_checkpoint, weights_hash
from datasets.images import LabelledImages
from datasets.labels import STANDARD, ClassSet
from datasets.own.own_classes import FILE
from datasets.registry import titles
from datasets.shared_classes import describe_classes, shared_classes
from engine.build import network_from
from engine.data_report import check_images, report
from engine.evaluating.image_folder import label_camera, label_folder
from engine.evaluating.image_scores import ImageScores, details, write_examples
from engine.evaluating.prediction import Inference, Predictor
from engine.evaluating.results import (
    class_table,
    domain_result,
    kept_results,
    mean_of,
    percent,
    scoring_protocol,
    write_results,
)
from engine.evaluating.scoring import measured, score_reads, write_pictures
from engine.evaluating.target_norm import target_norm_results
from engine.figures.activation_maps import draw_activation
from engine.machine import choose_device, choose_precision, keep_memory
from engine.options.evaluation_options import EvaluationOptions, SnapshotOptions
from engine.options.suite_options import domains_on_disk
from engine.report.page import report_after
from engine.run_log import code_version
from utils.distributed import from_first, start
from utils.errors import UsageError
from utils.files import hold
from utils.log import counted, log
from utils.processes import rank

Sets = dict[str, LabelledImages]
Domains = dict[str, dict[str, Any]]  # what results.json or details.json holds of each domain


def evaluate(options: EvaluationOptions) -> None:
    """Do what the options say."""
    device = choose_device(options.machine.device)
    keep_memory(device)
    start(device)
    path, content = options.snapshot.snapshot, read_snapshot(options.snapshot)
    options = with_sources(options, content)
    subject = options.subject
    classes = choose_classes(subject.datasets or (), path, content["network"])
    predict = predictor_of(content, options, device)
    header = header_of(options, path, content)
    named = path.resolve() if path.is_dir() else path  # a folder may be called "."
    beside = named.with_suffix("") if path.is_file() and path.suffix else named.with_name(f"{named.name}_results")
    tag = predict.inference.tag + ("_target_norm" if options.target_norm.batch_sizes else "")
    if options.figures.tsne or options.figures.actmap or options.figures.memory_report:
        draw_figures(predict, options, classes, out=subject.out or beside, header=header)
    elif subject.images is not None:
        record = {**header, "weights": weights_hash(content["weights"]), "protocol": predict.describe()}
        label = label_folder if subject.camera is None else label_camera
        label(predict, options, classes, out=subject.out or beside / tag, record=record)
    else:
        out = subject.out or beside / tag
        domains = score_domains(predict, options, checked_domains(options), out=out, header=header)
        if len(domains) > 1:
            log.info(f"\nmean mIoU of {len(domains)} domains: {percent(mean_of(domains), 'mean_iou')}")
        log.info(f"written to {out}")
        if rank() == 0:
            report_after(out)


def header_of(options: EvaluationOptions, snapshot: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """What results say about the checkpoint."""
    trained = {key: content[key] for key in ("iteration", "flags", "code", "origin", "network") if key in content}
    names = {"label": options.subject.label, "snapshot": str(snapshot.resolve())}
    return {**names, "trained": trained, "code": code_version()}


def with_sources(options: EvaluationOptions, content: Mapping[str, Any]) -> EvaluationOptions:
    """The options with the sources of a checkpoint; they are scored if the user names no data set and the network has
    other classes than Cityscapes."""
    sources, names = tuple(content["flags"].get("dataset") or ()), options.subject.datasets
    if not names and options.subject.images is None:
        own = classes_in(content["network"]) or STANDARD
        if sources and own.names != STANDARD.names:
            names = sources
        else:
            names = domains_on_disk(options.data, options.subject.split) if options.suite.name else ("cityscapes",)
        log.warning(f"note: no --dataset, so these are taken: {', '.join(names)}")
    data = replace(options.data, names=names or (), trained_on=sources)
    return replace(options, subject=replace(options.subject, datasets=names), data=data)


def predictor_of(content: Mapping[str, Any], options: EvaluationOptions, device: torch.device) -> Predictor:
    """The network of a checkpoint, ready to label images."""
    config, snapshot = content["network"], options.snapshot
    net = network_from(config)
    load_weights(net, content["weights"], f"--snapshot {snapshot.snapshot}")
    return Predictor(
        net.to(device),
        device=device,
        inference=Inference(**asdict(options.inference)),
        gumbel=bool(options.scoring.gumbel_eval),
        image_in=config.get("image_in", snapshot.image_in),
        precision=choose_precision(options.machine.amp, device),
    )


def read_snapshot(options: SnapshotOptions) -> dict[str, Any]:
    """The checkpoint, as ``train.py`` would have written it; UsageError where it contradicts the options."""
    path = options.snapshot
    facts = {"arch": options.arch, "output_stride": options.output_stride, "wt_layer": options.wt_layer}
    others = {"image_in": options.image_in or None, "pretrained_backbone": options.pretrained_backbone}
    content = as_ours(read_checkpoint(path, "--snapshot"), path, **facts, **others)
    if options.memory and not content["network"]["memory"]:
        raise UsageError(f"--memory: {path} holds none; drop --memory or name a checkpoint trained with it")
    return content


def score_domains(
    predict: Predictor, options: EvaluationOptions, sets: Sets, *, out: Path, header: dict[str, Any], title: str = ""
) -> Domains:
    """The results of every domain; the first process writes all of them as JSON and CSV after each one.

    ``title`` names them in a larger table.  What an earlier command scored for it is then taken from there.
    """
    protocols = {name: protocol_of(predict, options, images) for name, images in sets.items()}
    with hold(out):
        domains, more = from_first(kept_results(out, header, protocols if title else {}) if rank() == 0 else None)
        for name, images in sets.items():
            if name not in domains:
                domains[name], more[name] = score_domain(predict, options, images, protocols[name], out=out)
                write_results(out, header, domains, more)
                if rank() == 0 and (not title or out.name == "whole"):  # there is a report
                    write_examples(out / "examples" / name, predict, images, options.scoring, more[name]["examples"])
            split = f"{images.split}, {counted(len(images), 'image')}"
            table = f"\n{name} ({split})\n{class_table(domains[name])}"
            log.info(f"{title}, {name}: mIoU {percent(domains[name], 'mean_iou')}" if title else table)
    return domains


def checked_domains(options: EvaluationOptions) -> Sets:
    """The images of each domain, after a check of a sample of the files; a report on them is logged."""
    sets = options.domains()
    if options.subject.check:
        check_images([(images.spec, images.split, images.samples) for images in sets.values()], options.data)
    log.info(report([(name, images.found) for name, images in sets.items()]))
    return sets


def reads_of(predict: Predictor, options: EvaluationOptions) -> int:
    """How often an image is predicted, with other noise in the memory's read."""
    return max(1, options.scoring.gumbel_eval) if predict.noisy else 1


def protocol_of(predict: Predictor, options: EvaluationOptions, images: LabelledImages) -> dict[str, Any]:
    """How images are predicted and scored."""
    return scoring_protocol(options, images, reads=reads_of(predict, options)) | predict.describe()


def score_domain(
    predict: Predictor, options: EvaluationOptions, images: LabelledImages, protocol: dict[str, Any], *, out: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``results.json`` and ``details.json`` hold of a domain; pictures of it are written below ``out``."""
    classes, folder = images.spec.classes, out / f"{images.spec.name}_{images.split}"
    each = ImageScores(partial(write_pictures, folder, classes) if options.subject.dump_images else None)
    entropy = folder / "entropy" if options.measures.entropy else None
    ways = {"scoring": options.scoring, "workers": options.machine.workers, "measures": options.measures}
    scores = score_reads(predict, images, **ways, reads=reads_of(predict, options), each=each, entropy=entropy)
    more = details(each.of_all(), scores[0].counts)
    result = domain_result(scores, protocol, classes=classes) | measured(scores, classes, options.measures)
    if options.target_norm.batch_sizes:
        result["target_norm"] = target_norm_results(predict, images, options, protocol)
    return result, more


def draw_figures(
    predict: Predictor, options: EvaluationOptions, classes: ClassSet, *, out: Path, header: Mapping[str, Any]
) -> None:
    """Draw the figures of the paper and the memory report below ``out``.  UsageError if there is no memory to draw."""
    os.environ["MPLBACKEND"] = "agg"  # a notebook's own one, which programs inherit, may not exist here
    figures, subject = options.figures, options.subject
    for flag, given in (("--mem_actmap", figures.actmap), ("--memory_report", figures.memory_report)):
        if given and predict.net.memory is None:
            raise UsageError(f"{flag}: {header['snapshot']} holds no memory; name a checkpoint trained with --memory")
    names = titles(subject.datasets or ())
    settings = {
        **header,
        "recipe": subject.recipe,
        "sources": [names.get(name, name) for name in figures.sources or options.data.trained_on],
        "split": subject.split,
        "centre_crop": figures.centre_crop,
        **predict.describe(),
    }
    if figures.tsne:
        from engine.figures.tsne import draw_tsne

        with hold(out / "tsne") as folder:
            draw_tsne(predict, options, classes, out=folder, settings=settings)
    if figures.actmap:
        with hold(out / "memory_activation") as folder:
            draw_activation(predict, options, classes, out=folder, settings=settings)
    if figures.memory_report:
        from engine.figures.memory_report import write_memory_report

        with hold(out / "memory_report") as folder:
            write_memory_report(predict, options, classes, out=folder, settings=settings)


def choose_classes(datasets: tuple[str, ...], snapshot: Path, config: Mapping[str, Any]) -> ClassSet:
    """The classes of the network; UsageError if the data sets have others, or if neither side names them."""
    own = classes_in(config)
    given = shared_classes(datasets) if datasets else own
    if own is None and (given is None or len(given) != config["num_classes"]):
        raise UsageError(
            f"--snapshot {snapshot}: its network has {config['num_classes']} classes, but labels, colours and tables "
            f"exist for {len(given or STANDARD)} only; name another checkpoint"
        )
    if own is not None and given.names != own.names:
        raise UsageError(
            f"--dataset {datasets[0]}: has {describe_classes(given)}, but --snapshot {snapshot} has "
            f"{describe_classes(own)}; map labels to these in the data set's {FILE}, or name another data set"
        )
    return own or given
