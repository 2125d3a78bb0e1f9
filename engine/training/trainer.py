"""The training loop: one for all methods."""

import math
import signal
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from checkpoints.run_files import save_numbered
from datasets.images import LabelledImages
from datasets.sampling.loaders import Batch
from engine import build
from engine.evaluating.scoring import FirstPicture, score_domain, summary
from engine.machine import uncompiled
from engine.options.resuming import command_to_go_on
from engine.plan import validation_interval
from engine.run_log import RunLog
from engine.training.batch_feed import Feed
from engine.training.covariance_selection import Selection, describe, share_picture
from engine.training.interruption import Interrupted, Interruption, Stopped
from engine.training.pace import Pace
from methods import Aggregate
from methods.aggregate import Terms
from utils.distributed import all_sum, any_rank, from_first
from utils.errors import CommonError, UsageError
from utils.processes import rank, world_size
from utils.seeds import seed_of


@dataclass
class Progress:
    """How far a run is; saved with every checkpoint."""

    iteration: int = 0  # iterations done
    validated: int = 0  # the iteration after which all domains were scored last
    validation: dict[str, float] = field(default_factory=dict)  # mIoU by domain, then
    best: float = -math.inf  # mean mIoU of the held-out source images, the highest so far
    best_iteration: int = 0
    bad_files: dict[str, str] = field(default_factory=dict)  # those replaced -> what is wrong


class Trainer:
    """Steps, logs, validates, selects what to whiten, and saves.

    Noise and dropout of an iteration are seeded by (seed, iteration, rank): any iteration can be repeated alone, and a
    run that goes on does what it would have done.
    """

    def __init__(
        self,
        args: Namespace,
        method: Aggregate,
        facts: dict[str, Any],
        log: RunLog | None,
        folder: Path,
        device: torch.device,
        precision: str,
        progress: Progress,
        selection: Selection,
    ):
        self.args, self.method, self.progress = args, method, progress
        self.facts = facts  # about the run, saved with every checkpoint
        self.log = log  # the first process has one
        self.folder, self.device, self.precision = folder, device, precision
        self.selection = selection
        self.pending: list[tuple[Terms, float, dict[str, str]]] = []  # losses, learning rate, bad files
        self.validation_interval = validation_interval(args)

    def run(self, batches: Iterable[Batch], held_out: list[LabelledImages], unseen: list[LabelledImages]) -> None:
        """Train to the end, or to the first SIGINT or SIGTERM, which ends with ``Interrupted`` once all is saved."""
        self.validation_sets = {"seen": held_out, "unseen": unseen}
        start, end = self.progress.iteration, self.args.max_iter
        feed = self.feed = Feed(batches, self.progress.bad_files, self.args.skip_bad)
        bar = tqdm(desc=self.args.exp, initial=start, total=end, unit="it", disable=rank() > 0)
        with closing(feed), Interruption() as self.interruption, bar:  # processes that load data would wait for ever
            if start and (self.validation_due() or self.selection_due()):
                self.conclude()  # the run was stopped before that was done
            feed.fetch()
            if feed.fault:
                raise self.ending()
            self.pace = Pace(feed)
            while feed.batch is not None:
                self.step(feed.batch.ready(self.device, image_in=self.args.image_in))
                bar.update()
                stop = feed.fetch(signalled=self.interruption.number > 0) or bool(feed.fault)
                if self.due(self.args.log_interval):
                    bar.set_postfix(self.flush())
                if stop or self.validation_due() or self.selection_due() or self.due(self.args.save_interval):
                    self.conclude(stop=stop)
                    self.pace.restart()

    def stopping(self) -> bool:
        """Whether a signal reached any of the processes; they stop together."""
        return any_rank(self.interruption.number > 0)

    def leave(self) -> None:
        """Leave what is being done if a signal came; called by all processes together."""
        if self.stopping():
            raise Stopped

    def leave_alone(self) -> None:
        """The same where the processes are not at the same place: only a single one can leave."""
        if self.interruption.number and world_size() == 1:
            raise Stopped

    def due(self, interval: int) -> bool:
        return self.progress.iteration % interval == 0 or self.progress.iteration == self.args.max_iter

    def validation_due(self) -> bool:
        return self.due(self.validation_interval) and self.progress.validated < self.progress.iteration

    def selection_due(self) -> bool:
        return self.selection.due(self.method, self.progress.iteration)

    def step(self, batch: Batch) -> None:
        torch.manual_seed(seed_of(self.args.seed, self.progress.iteration, rank()))
        rate = self.method.scheduler.get_last_lr()[0]
        with build.autocast(self.precision, self.device):
            terms = self.method.step(batch)
        self.pending.append((terms, rate, self.feed.replaced))
        self.feed.count()
        self.progress.iteration += 1

    def flush(self) -> dict[str, str]:
        """Fetch and write the losses and the pace since the last time; returns what the progress bar tells of them.

        Losses are fetched here only, so that a GPU is not made to wait in every step.
        """
        if not self.pending:
            return {}
        names = list(self.pending[0][0])
        shares = torch.stack([torch.stack([terms[name] for name in names]) for terms, *_ in self.pending])
        values = all_sum(shares).tolist()
        first = self.progress.iteration - len(values) + 1
        for iteration, (_, rate, bad), row in zip(range(first, first + len(values)), self.pending, values, strict=True):
            terms = dict(zip(names, row, strict=True))
            if not all(map(math.isfinite, row)):
                shown = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
                raise CommonError(f"iteration {iteration}: a loss is not finite ({shown}); try a smaller --lr")
            if self.log:
                self.log.write_bad_files(iteration, bad)
                self.log.write("train", iteration, terms | {"lr": rate})
        pace = self.pace.lap(len(values))
        if self.log:
            self.log.write("pace", self.progress.iteration, pace)
        self.pending.clear()
        sums: dict[str, float] = defaultdict(float)
        for name, mean in zip(names, torch.tensor(values).mean(dim=0).tolist(), strict=True):
            sums[name.partition("/")[0] if "/" in name else "loss"] += mean
        return {name: f"{value:.3f}" for name, value in sums.items()} | {"waiting": f"{pace['waiting']:.0%}"}

    def conclude(self, *, stop: bool = False) -> None:
        """Select and validate if that is due, save, and end the run if a signal or a bad file asks for it."""
        self.flush()
        iteration = self.progress.iteration
        if not all(value.isfinite().all() for value in self.method.net.state_dict().values()):
            raise CommonError(f"iteration {iteration}: the weights are not finite any more; try a smaller --lr")
        if (self.validation_due() or self.selection_due()) and not stop:
            self.save()  # this takes its time, and may meet a broken image
            from_first(None)  # which no process tells before all is saved
            try:
                with uncompiled(self.args.compile):
                    self.select()
                    self.validate()
            except Stopped:
                stop = True
            except UsageError as error:  # a broken image; the others, waiting for this process, are ended
                raise UsageError(f"{error}; {self.how_to_go_on()}") from error
        self.save()
        if stop:
            raise self.ending()

    def ending(self) -> Interrupted | CommonError:
        """What a run that was stopped ends with, and how it goes on."""
        self.feed.close()
        from_first(None)  # nobody leaves before all is saved: a launcher ends the others soon after
        fault = self.feed.fault
        if not fault:
            return Interrupted(self.how_to_go_on(), self.interruption.number or signal.SIGTERM)
        # before the first iteration there is nothing to go on with
        return CommonError(f"{fault}; {self.how_to_go_on()}" if self.progress.iteration else fault)

    def how_to_go_on(self) -> str:
        told = f"stopped after iteration {self.progress.iteration} of {self.args.max_iter}, all is saved; go on with: "
        return told + command_to_go_on(self.folder, world_size())

    def select(self) -> None:
        """Select the covariance entries that are whitened from now on, if that is due."""
        if not self.selection_due():
            return
        iteration = self.progress.iteration
        self.selection.take(self.method, iteration, self.device, between=self.leave, within=self.leave_alone)
        for number, mask in enumerate(self.method.whitening.masks, start=1):
            if self.log:
                self.log.picture(f"whitening/layer_{number}", share_picture(mask), iteration)
        if rank() == 0:
            tqdm.write(f"{iteration}: {describe(self.method.whitening.masks)}")

    def validate(self) -> None:
        """Score all domains if that is due; the mean of the held-out source images tells the best checkpoint."""
        if not self.validation_due():
            return
        iteration, results = self.progress.iteration, {}
        for role, images in [(role, images) for role, group in self.validation_sets.items() for images in group]:
            first = FirstPicture(self.leave_alone, images.spec.classes)
            scores = score_domain(self.method.net, self.args, images, self.device, each=first)
            self.leave()
            name = images.spec.name
            results[name] = scores.mean_iou
            if self.log:
                self.log.write("validation", iteration, summary(scores), domain=name, role=role)
                self.log.picture(f"{role}/{name}", first.strip(), iteration)
        self.method.net.train()
        self.progress.validated, self.progress.validation = iteration, results
        seen = [results[images.spec.name] for images in self.validation_sets["seen"]]
        if (mean := sum(seen) / len(seen)) > self.progress.best:
            self.progress.best, self.progress.best_iteration = mean, iteration
        if rank() == 0:
            told = ", ".join(f"{name} {100 * value:.1f}" for name, value in results.items())
            tqdm.write(f"{iteration}: mIoU {told}")

    def save(self) -> None:
        """Save, after the log has reached the disk; only the first process does."""
        if not self.log:
            return
        self.log.flush()
        content = {
            **self.facts,
            "weights": self.method.net.state_dict(),
            "optimizer": self.method.optimizer.state_dict(),
            "scheduler": self.method.scheduler.state_dict(),
            **asdict(self.progress),
        }
        if self.method.whitening is not None:
            content["whitening"] = self.method.whitening.state_dict()
        best = self.progress.best_iteration == self.progress.iteration
        save_numbered(self.folder, content, keep=self.args.keep, best=best)
