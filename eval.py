"""Score a checkpoint on labelled domains: ``python eval.py --help``."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from engine.eval_flags import parse_evaluation
from engine.main import run_program
from utils.errors import UsageError


def main(argv: Sequence[str] | None = None) -> None:
    evaluate(parse_evaluation(argv))


def evaluate(args: Namespace) -> Path:
    """Score every domain, print its table, write JSON and CSV as it goes; returns the folder of the results."""
    # Torch is loaded only once the flags are right.
    from engine.build import choose_device, labelled_images, network_from
    from engine.dump import PictureWriter
    from engine.evaluation import class_table, result, score_domain, write_csv
    from utils.checkpoint import load_checkpoint, load_weights
    from utils.log import code_version, write_json

    device = choose_device(args.device)
    content = load_checkpoint(args.snapshot)
    net = network_from(content["network"])
    load_weights(net, content["weights"], args.snapshot)
    net.to(device)
    sets = {name: labelled_images(args, name, args.split, args.limit) for name in args.dataset}
    out = make_folder(args.out or args.snapshot.with_name(f"{args.snapshot.stem}_results"))

    trained = {key: content[key] for key in ("iteration", "flags", "code")}
    about = {"snapshot": str(args.snapshot), "trained": trained, "code": code_version()}
    domains = {}
    for name, images in sets.items():
        each = PictureWriter(out / f"{name}_{args.split}") if args.dump_images else ignore
        scores = score_domain(net, args, images, device, each=each)
        domains[name] = result(args, images, device, scores)
        print(f"\n{name} ({args.split}, {len(images)} images)\n{class_table(domains[name])}")
        write_json(out / "results.json", about | {"domains": domains})
        write_csv(out / "results.csv", domains)
    if len(domains) > 1:
        mean = sum(scored["mean_iou"] for scored in domains.values()) / len(domains)
        print(f"\nmean mIoU of {len(domains)} domains: {100 * mean:.1f}")
    print(f"written to {out}")
    return out


def make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {path}: cannot be made a folder ({error.strerror}); name another") from error
    return path


def ignore(predicted: object) -> None:
    """What is done with each image when no pictures are wanted."""


if __name__ == "__main__":
    run_program("eval.py", main)
