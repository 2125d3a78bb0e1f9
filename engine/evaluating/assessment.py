"""What ``eval.py`` does with a checkpoint: score it on labelled domains, or label a folder of images with it."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpoints.adoption import as_ours, classes_in
from checkpoints.run_files import load_weights, read_checkpoint, weights_hash
from datasets.labels import STANDARD, ClassSet
from datasets.own.own_classes import FILE
from engine.build import choose_device, network_from
from engine.data_report import labelled_images, report, shared_classes, told
from engine.evaluating.image_folder import label_folder
from engine.evaluating.picture_writer import PictureWriter
from engine.evaluating.prediction import Inference, Predictor
from engine.evaluating.results import class_table, keep_older, percent, result, scoring_protocol, write_csv
from engine.evaluating.scoring import ignore, score_reads
from engine.evaluating.target_norm import TargetNorm, mean_over, norm_table
from engine.figures.drawing import draw_figures
from engine.machine import keep_memory
from engine.run_log import code_version
from utils.distributed import start
from utils.errors import UsageError
from utils.files import write_json
from utils.processes import rank


def evaluate(args: Namespace) -> Path:
    """Do what the flags say; returns the folder of the results."""
    device = choose_device(args.device)
    keep_memory(device)
    start(device)
    content = as_ours(
        read_checkpoint(args.snapshot, "--snapshot"),
        args.snapshot,
        arch=args.arch,
        output_stride=args.output_stride,
        wt_layer=args.wt_layer,
        image_in=args.image_in or None,
    )
    check_network(args, content["network"])
    args.trained_on = content["flags"].get("dataset") or []
    classes = choose_classes(args, content["network"])
    args.image_in = content["network"].get("image_in", args.image_in)
    net = network_from(content["network"])
    load_weights(net, content["weights"], f"--snapshot {args.snapshot}")
    predict = Predictor(net.to(device), args, device=device, inference=inference_from(args))
    if args.tsne or args.mem_actmap:
        out = args.out or default_folder(args.snapshot)
        return draw_figures(predict, args, out=out, trained=content, classes=classes)
    tag = predict.inference.tag + ("_target_norm" if args.target_norm else "")
    out = args.out or default_folder(args.snapshot) / tag
    if args.images is not None:
        about = {"snapshot": str(args.snapshot.resolve()), "iteration": content["iteration"]}
        about |= {"weights": weights_hash(content["weights"]), "network": content["network"]}
        about |= {"protocol": predict.describe()}
        return label_folder(predict, args, out=out, about=about, classes=classes)
    trained = {key: content[key] for key in ("iteration", "flags", "code", "origin", "network") if key in content}
    about = {"label": args.exp, "snapshot": str(args.snapshot), "trained": trained, "code": code_version()}
    score(predict, args, out=out, about=about)
    return out


def score(predict: Predictor, args: Namespace, *, out: Path, about: dict[str, Any]) -> None:
    """Score every domain; the first process prints tables and writes JSON and CSV as it goes."""
    found = [labelled_images(args, name, args.split, args.limit) for name in args.dataset]
    sets = {images.spec.name: images for images in found}
    make_folder(out)
    if rank() == 0:
        keep_older(out)
        print(report([(name, images.found) for name, images in sets.items()]))
    reads = reads_of(predict, args)
    norms = TargetNorm(predict, args) if args.target_norm else None
    domains: dict[str, dict[str, Any]] = {}
    for name, images in sets.items():
        classes = images.spec.classes
        each = PictureWriter(out / f"{name}_{args.split}", classes) if args.dump_images else ignore
        scores = score_reads(predict, images, args=args, reads=reads, each=each)
        protocol = scoring_protocol(args, images, reads=reads) | predict.describe()
        domains[name] = result(scores, protocol, classes=classes)
        if norms:
            domains[name]["target_norm"] = norms.results(images, protocol)
        if rank() == 0:
            print(f"\n{name} ({args.split}, {len(images)} images)\n{class_table(domains[name])}")
            print(norm_table(domains[name]), end="")
            mean = mean_over(domains) if len(domains) > 1 else None
            write_json(out / "results.json", about | {"domains": domains} | ({"mean": mean} if mean else {}))
            write_csv(out / "results.csv", domains, mean=mean)
    if rank() == 0:
        if mean:
            print(f"\nmean mIoU of {len(domains)} domains: {percent(mean, 'mean_iou')}")
            print(norm_table(mean), end="")
        print(f"written to {out}")


def reads_of(predict: Predictor, args: Namespace) -> int:
    """How often the images are read; more than once makes sense with noise only."""
    if args.gumbel_eval > 1 and not predict.noisy and rank() == 0:
        print(f"note: --gumbel_eval {args.gumbel_eval}: this network has no memory to be read with noise; scored once")
    return max(1, args.gumbel_eval) if predict.noisy else 1


def inference_from(args: Namespace) -> Inference:
    return Inference(
        mode=args.inference_mode,
        scales=args.scales,
        flip=args.inference_mode != "whole" and not args.no_flip,
        crop_size=args.crop_size,
        overlap=args.sliding_overlap,
        counts=args.sliding_counts,
    )


def check_network(args: Namespace, config: Mapping[str, Any]) -> None:
    """That the checkpoint can be used as the flags say."""
    if args.memory and not config["memory"]:
        raise UsageError(f"--memory: {args.snapshot} holds none; drop --memory or name a checkpoint trained with it")


def choose_classes(args: Namespace, config: Mapping[str, Any]) -> ClassSet:
    """What the network tells apart, which the data sets must have too, and tell where the checkpoint does not."""
    own = classes_in(config)
    given = shared_classes(args.dataset) if args.dataset else own
    if own is None and (given is None or len(given) != config["num_classes"]):
        raise UsageError(
            f"--snapshot {args.snapshot}: its network tells {config['num_classes']} classes apart, but labels, colours "
            f"and tables are there for {len(given or STANDARD)} classes only; name one of {len(given or STANDARD)} "
            "classes"
        )
    if own is not None and given.names != own.names:
        raise UsageError(
            f"--dataset {args.dataset[0]}: has {told(given)}, but --snapshot {args.snapshot} tells apart {told(own)}; "
            f"map labels to these in the data set's {FILE}, or name another data set"
        )
    return own or given


def default_folder(snapshot: Path) -> Path:
    """Beside the snapshot, named like it."""
    return snapshot.with_suffix("") if snapshot.suffix else snapshot.with_name(f"{snapshot.name}_results")


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {path}: cannot be made a folder ({error.strerror}); name another") from error
