"""Score a checkpoint on labelled domains: ``python eval.py --help``."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from engine.flags import parse_evaluation
from engine.main import run_program


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_evaluation(argv)
    evaluate(args)


def evaluate(args: Namespace) -> Path:
    """Score every domain, print its table, write JSON and CSV; returns the folder of the results."""
    # Torch is loaded only once the flags are right.
    from engine.build import choose_device, network_from
    from engine.dump import PictureWriter
    from engine.evaluation import class_table, evaluate_domain, write_csv
    from utils.checkpoint import load_checkpoint, load_weights
    from utils.log import code_version, write_json

    device = choose_device(args.device)
    content = load_checkpoint(args.snapshot)
    net = network_from(content["network"])
    load_weights(net, content["weights"], args.snapshot)
    net.to(device)
    out = args.out or args.snapshot.with_suffix("")
    domains = {}
    for name in dict.fromkeys(args.dataset):
        write = PictureWriter(out / f"{name}_{args.split}") if args.dump_images else lambda predicted: None
        domains[name] = evaluate_domain(net, args, name, device, write)
        print(f"\n{name} ({args.split}, {domains[name]['protocol']['images']} images)\n{class_table(domains[name])}")
    if len(domains) > 1:
        mean = sum(result["mean_iou"] for result in domains.values()) / len(domains)
        print(f"\nmean mIoU of {len(domains)} domains: {100 * mean:.1f}")
    out.mkdir(parents=True, exist_ok=True)
    trained = {key: content[key] for key in ("iteration", "flags", "code")}
    result = {"snapshot": str(args.snapshot), "trained": trained, "code": code_version(), "domains": domains}
    write_json(out / "results.json", result)
    write_csv(out / "results.csv", domains)
    print(f"written to {out}")
    return out


if __name__ == "__main__":
    run_program("eval.py", main)
