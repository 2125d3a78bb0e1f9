"""Which flags of ``eval.py`` contradict each other."""

from argparse import Namespace

from engine.options.parser import refuse_idle, refuse_if

PICTURES = ("--dump_images", "--entropy")  # of predictions
SCORED = ("--inference_mode", "--gumbel_eval above 1", *PICTURES)  # these two tuples: only scores have them
MEASURED = ("--calibration", "--boundary_iou")
ELSEWHERE = ("--images", "--target_norm", "--tsne", "--mem_actmap", "--memory_report", *PICTURES)  # not in tables
EXCLUSIVE = {
    "--suite": (*ELSEWHERE, "--inference_mode"),
    "--runs": (*ELSEWHERE, "--snapshot"),
    "--images": ("--dataset", "--tsne", "--memory_report", "--gumbel_eval above 1", *MEASURED),
    "--target_norm": ("--images", "--tsne", "--mem_actmap", "--memory_report", *SCORED),
    "--tsne": SCORED + MEASURED,
    "--mem_actmap": SCORED + MEASURED,
    "--memory_report": ("--inference_mode", "--gumbel_eval above 0", *PICTURES, *MEASURED),
    "--pca": ("--duplication above 1",),
    "--gumbel_off": ("--gumbel_eval above 0",),
}


def check_combinations(args: Namespace) -> None:
    """UsageError for flags that change nothing, or that exclude each other."""
    mode, repeats, few_classes = args.inference_mode, args.gumbel_eval or 0, args.tsne or args.mem_actmap
    figures, any_figure = few_classes or args.memory_report, "--tsne, --mem_actmap or --memory_report"
    refuse_idle(
        ("--all_class", args.all_class, few_classes, "--tsne or --mem_actmap"),
        ("--source_domain", args.source_domain, figures, any_figure),
        ("--centre_crop", args.centre_crop, figures, any_figure),
        ("--pca", args.pca, args.tsne, "--tsne"),
        ("--duplication", args.duplication > 1, args.tsne, "--tsne"),
        ("--video_as", args.video_as != ["overlay"], args.images, "--images"),
        ("--target_norm_seeds", args.target_norm_seeds, args.target_norm, "--target_norm"),
        ("--corruptions", args.corruptions, args.suite, "--suite dg"),
        ("--scales", args.scales != (1.0,), mode != "whole", "--inference_mode sliding or pooling"),
    )
    given = {f"--{flag}": value for flag, value in vars(args).items()} | {
        "--inference_mode": mode != "whole",
        "--gumbel_eval above 0": repeats > 0,
        "--gumbel_eval above 1": repeats > 1,
        "--duplication above 1": args.duplication > 1,
    }
    for flag, others in EXCLUSIVE.items():
        for other in others:
            refuse_if(given[flag] and given[other], f"{flag} and {other} exclude each other: drop one of them")
