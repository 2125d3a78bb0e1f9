"""One run of ``benchmarks.generalise``: train a row with a seed, then score every domain."""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.studies import LINE, SETTINGS, Job, job_of
from benchmarks.study_table import mean_iou, pack
from benchmarks.variants import VARIANTS
from checkpoints.frozen_encoders import completed
from checkpoints.run_files import load_checkpoint, load_weights
from engine import build
from engine.evaluating.prediction import Inference, Predictor
from engine.evaluating.scoring import score_reads
from engine.machine import choose_device, choose_precision
from engine.options.training_command import parse_training
from engine.options.training_options import TrainingOptions
from engine.run_log import code_version
from engine.training.run import train
from utils.metrics import ConfusionMatrix
from utils.program import run_program


def main() -> None:
    """``python -m benchmarks.study_run JOB FOLDER DATA WEIGHTS``, at idle priority; the line is written in FOLDER."""
    job, place, data, weights = sys.argv[1:]
    os.nice(19)
    with contextlib.suppress(OSError, AttributeError):  # refused, or not on this system
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    line = run(job_of(json.loads(job)), Path(place), Path(data), Path(weights))
    (Path(place) / LINE).write_text(json.dumps(line))


def command(job: Job, data: Path, weights: Path) -> list[str]:
    """The flags of ``train.py``; ``data`` is the folder of the domains."""
    setting = SETTINGS[job.setting]
    way = setting.ways[job.way]
    sources, targets = ([setting.name.format(root=data, name=name) for name in names] for names in way)
    rate = lr_of(setting.flags)
    values = {"weights": weights, "half_lr": rate / 2, "double_lr": rate * 2}
    flags = [word.format(**values) for word in f"{setting.flags} {job.flags}".split()]
    length = f"--max_iter {job.iterations} --val_interval {max(1, job.iterations // 4)} --seed {job.seed}"
    return ["--data_root", str(data), "--dataset", *sources, "--val_dataset", *targets, *flags, *length.split()]


def lr_of(flags: str) -> float:
    words = flags.split()
    return float(words[words.index("--lr") + 1]) if "--lr" in words else 0.01


def run(job: Job, place: Path, data: Path, weights: Path) -> dict[str, Any]:
    """Train and score; return the line about this run.  Everything else is written below ``place``."""
    torch.set_num_threads(SETTINGS[job.setting].threads or torch.get_num_threads())
    for name in job.variants:
        VARIANTS[name]()
    argv = [*command(job, data, weights), "--exp_root", str(place), "--exp", "run"]
    options, start = parse_training(argv), time.process_time()
    folder = train(options)
    trained = time.process_time() - start
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    validation = [row for row in rows if row["kind"] == "validation"]
    last, best = folder / "last.pth", folder / "best.pth"
    scores = {"last": score(last, options, job.scales)}
    scores["best"] = scores["last"] if last.samefile(best) else score(best, options, job.scales)
    unseen = [options.data.dataset(name).name for name in options.run.targets]
    return {
        **job._asdict(),
        "code": code_version(),
        "torch": torch.__version__,
        "device": choose_device(options.machine.device).type,
        "cpu_seconds": {"training": round(trained), "scoring": round(time.process_time() - start - trained)},
        "losses": [row for row in rows if row["kind"] == "train"][-1],
        "memory": next((row for row in reversed(rows) if row["kind"] == "memory"), None),
        "curve": [[row["iteration"], row["domain"], row["role"], round(row["mean_iou"], 4)] for row in validation],
        "miou": {
            name: {key: round(mean_iou(counts), 5) for key, counts in each.items()} for name, each in scores.items()
        },
        "counts": {name: pack(scores["last"][name]) for name in unseen},
    }


def score(path: Path, options: TrainingOptions, scales: tuple[float, ...]) -> dict[str, np.ndarray]:
    """For every domain and each of its images the pixels by class (images,3,K): hits, labelled and predicted ones."""
    content = completed(load_checkpoint(path), str(path))
    net = build.network_from(content["network"])
    load_weights(net, content["weights"], str(path))
    inference = Inference() if scales == (1.0,) else Inference("pooling", scales)
    device, noisy = choose_device(options.machine.device), bool(options.scoring.gumbel_eval)
    precision = choose_precision(options.machine.amp, device)
    predict = Predictor(net.to(device), device=device, inference=inference, gumbel=noisy, precision=precision)
    counts = {}
    for name in (*options.run.sources, *options.run.targets):
        images = options.data.images(name, "val")
        rows: list[Tensor] = []

        def count(*shown: Any, rows: list[Tensor] = rows, classes: int = len(images.spec.classes)) -> None:
            _, _, labels, prediction, _ = shown
            matrix = ConfusionMatrix(classes)
            matrix.update(labels, prediction.cpu())
            rows.append(torch.stack([matrix.counts.diag(), matrix.counts.sum(1), matrix.counts.sum(0)]))

        score_reads(predict, images, scoring=options.scoring, workers=0, each=count)
        counts[images.spec.name] = torch.stack(rows).numpy()
    return counts


if __name__ == "__main__":
    run_program("benchmarks.study_run", main)
