"""The training loop: one for all methods."""

import math
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.folder import LabelledImages
from datasets.labels import colourise
from datasets.loaders import Batch, Domains
from engine import build
from engine.evaluation import Predicted, score_domain, summary
from methods import Aggregate
from methods.aggregate import Terms
from network.deeplab import DeepLabV3Plus
from utils.checkpoint import save_checkpoint
from utils.errors import UsageError
from utils.log import RunLog, code_version, create_run_folder, write_json


def train(args: Namespace) -> Path:
    """Train as the flags say; returns the folder of the run."""
    device = build.choose_device(args.device)
    precision = build.choose_precision(args.amp, device)
    torch.manual_seed(args.seed)
    domains = build.training_domains(args)
    held_out, unseen = validation_sets(args)
    batches = build.training_batches(args, domains, device)
    config = build.network_config(args)
    net = build.network_from(config, pretrained=args.pretrained_backbone).to(device).train()
    method = build.method_from(args, net)

    folder = create_run_folder(args.exp_root, args.exp)
    flags = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    facts = {"flags": flags, "code": code_version(), "network": config}
    data = {row.name: {"images": len(samples), "hash": build.fingerprint(samples)} for row, samples in domains.sources}
    write_json(folder / "flags.json", {**facts, "training data": data, "precision": precision})
    announce(args, method, net, folder, data)
    if args.memory:
        start_memory(args, method, domains, device, precision)
    log = RunLog(folder)
    try:
        Trainer(args, method, facts, log, folder, device, precision).run(batches, held_out, unseen)
    finally:
        log.close()
    return folder


def validation_sets(args: Namespace) -> tuple[list[LabelledImages], list[LabelledImages]]:
    """Held-out images of the sources, by which the best checkpoint is chosen, and images of the unseen domains."""

    def images(names: list[str]) -> list[LabelledImages]:
        return [build.labelled_images(args, name, "val", args.val_images) for name in dict.fromkeys(names)]

    return images(args.dataset), images([name for name in args.val_dataset if name not in args.dataset])


def announce(args: Namespace, method: Aggregate, net: DeepLabV3Plus, folder: Path, data: dict[str, Any]) -> None:
    sources = ", ".join(f"{name} ({facts['images']:,} images)" for name, facts in data.items())
    parameters = sum(param.numel() for param in net.parameters())
    print(f"{type(method).__name__} on {sources}: {args.max_iter:,} iterations, recipe {args.recipe}")
    print(f"{args.arch}: {parameters:,} parameters; everything is written to {folder}")


def start_memory(args: Namespace, method: Aggregate, domains: Domains, device: torch.device, precision: str) -> None:
    batches = build.initial_batches(args, domains, device)
    progress = tqdm(batches, "first memory", total=args.mem_init_batches, leave=False)
    with build.autocast(precision, device):
        method.initialise_memory(progress)


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, such that neighbours are unrelated."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Trainer:
    """Steps, logs, validates and saves.

    Noise and dropout of an iteration are seeded by (seed, iteration): any iteration can be repeated alone.
    """

    def __init__(
        self,
        args: Namespace,
        method: Aggregate,
        facts: dict[str, Any],
        log: RunLog,
        folder: Path,
        device: torch.device,
        precision: str,
    ):
        self.args, self.method, self.log = args, method, log
        self.facts = facts  # about the run, saved with every checkpoint
        self.folder, self.device, self.precision = folder, device, precision
        self.pending: list[tuple[int, Terms, float]] = []
        self.best = -math.inf

    def run(self, batches: Iterable[Batch], held_out: list[LabelledImages], unseen: list[LabelledImages]) -> None:
        every = self.args.val_interval or max(1, self.args.max_iter // 10)
        progress = tqdm(batches, self.args.exp, unit="it")
        for iteration, batch in enumerate(progress):
            self.step(iteration, batch.ready(self.device))
            done = iteration + 1
            last = done == self.args.max_iter
            if done % self.args.log_interval == 0 or last:
                progress.set_postfix(self.flush())
            if done % every == 0 or last:
                self.flush()
                self.validate(done, held_out, unseen)

    def step(self, iteration: int, batch: Batch) -> None:
        torch.manual_seed(seed_of(self.args.seed, iteration))
        rate = self.method.scheduler.get_last_lr()[0]
        with build.autocast(self.precision, self.device):
            terms = self.method.step(batch)
        self.pending.append((iteration, terms, rate))

    def flush(self) -> dict[str, str]:
        """Fetch and write the losses since the last time; returns their mean sums for the progress bar.

        Losses are fetched here only, so that a GPU is not made to wait in every step.
        """
        if not self.pending:
            return {}
        names = list(self.pending[0][1])
        values = torch.stack([torch.stack([terms[name] for name in names]) for _, terms, _ in self.pending]).tolist()
        for (iteration, _, rate), row in zip(self.pending, values, strict=True):
            terms = dict(zip(names, row, strict=True))
            if not all(map(math.isfinite, row)):
                shown = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
                raise UsageError(f"iteration {iteration}: a loss is not finite ({shown}); try a smaller --lr")
            self.log.write("train", iteration, terms | {"lr": rate})
        self.pending.clear()
        sums: dict[str, float] = defaultdict(float)
        for name, mean in zip(names, torch.tensor(values).mean(dim=0).tolist(), strict=True):
            sums[name.partition("/")[0] if "/" in name else "loss"] += mean
        return {name: f"{value:.3f}" for name, value in sums.items()}

    def validate(self, iteration: int, held_out: list[LabelledImages], unseen: list[LabelledImages]) -> None:
        """Score all domains, save ``last.pth``, and ``best.pth`` when the held-out source images say so."""
        if not all(value.isfinite().all() for value in self.method.net.state_dict().values()):
            raise UsageError(f"iteration {iteration}: the weights are not finite any more; try a smaller --lr")
        results = {}
        for role, group in (("seen", held_out), ("unseen", unseen)):
            for images in group:
                first = FirstPicture()
                scores = score_domain(self.method.net, self.args, images, self.device, each=first)
                name = images.spec.name
                results[name] = scores.mean_iou
                self.log.write("validation", iteration, summary(scores), domain=name, role=role)
                self.log.picture(f"{role}/{name}", first.strip(), iteration)
        self.method.net.train()
        tqdm.write(f"{iteration}: mIoU " + ", ".join(f"{name} {100 * value:.1f}" for name, value in results.items()))
        self.save("last", iteration, results)
        mean = sum(results[images.spec.name] for images in held_out) / len(held_out)
        if mean > self.best:
            self.best = mean
            self.save("best", iteration, results)

    def save(self, name: str, iteration: int, results: dict[str, float]) -> None:
        content = {
            **self.facts,
            "weights": self.method.net.state_dict(),
            "optimizer": self.method.optimizer.state_dict(),
            "scheduler": self.method.scheduler.state_dict(),
            "iteration": iteration,
            "validation": results,
        }
        save_checkpoint(self.folder / f"{name}.pth", content)


class FirstPicture:
    """Remembers the first image of a domain, to be looked at."""

    def __init__(self) -> None:
        self.seen: Predicted | None = None

    def __call__(self, predicted: Predicted) -> None:
        self.seen = self.seen or predicted

    def strip(self) -> Tensor:
        """Image, labels and prediction side by side: 3,H,3W uint8."""
        maps = (colourise(x.cpu().numpy()) for x in (self.seen.labels, self.seen.prediction))
        return torch.cat([self.seen.image, *(torch.from_numpy(x).permute(2, 0, 1) for x in maps)], dim=2)
