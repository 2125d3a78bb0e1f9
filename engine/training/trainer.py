"""The training loop: one for all methods."""

import math
import signal
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from tqdm import tqdm

from checkpoints.frozen_encoders import trained_weights
from checkpoints.run_files import save_numbered
from datasets.images import LabelledImages
from datasets.sampling.loaders import Batch
from engine import machine
from engine.evaluating.prediction import Inference, Predictor
from engine.evaluating.scoring import score_reads, summary
from engine.options.resuming import command_to_continue
from engine.options.training_options import TrainingOptions
from engine.run_log import RunLog
from engine.timetable import timetable_of
from engine.training.batch_feed import BatchFeed, Pace
from engine.training.covariance_selection import CovarianceSelection
from engine.training.interruption import Interruption, Stopped
from engine.training.progress import Progress
from methods.memory_health import dead
from methods.method import Method
from methods.objective import Terms
from methods.pinmem import write_first_memory
from utils.distributed import all_sum, any_rank, from_first
from utils.errors import CommonError, Interrupted, UsageError
from utils.log import log
from utils.processes import rank, world_size
from utils.seeds import seed_of

PATIENCE = 100  # iterations that a memory may take to come apart


@dataclass(eq=False)
class Trainer:
    """Steps, logs, validates, selects covariance entries, saves, and stops when a signal or a bad file asks for it.

    Noise and dropout of an iteration are seeded by (seed, iteration, rank).  So any iteration can be repeated alone,
    and a run that goes on does what it would have done without the stop.
    """

    options: TrainingOptions
    method: Method
    facts: dict[str, Any]  # about the run; every checkpoint holds them
    run_log: RunLog | None  # None in all processes but the first
    folder: Path
    device: torch.device
    precision: str
    progress: Progress
    selection: CovarianceSelection
    validation: dict[str, list[LabelledImages]]

    def __post_init__(self) -> None:
        self.timetable = timetable_of(self.options)
        self.warned = False  # of a memory that has collapsed
        self.pending: list[tuple[Terms, float, dict[str, str]]] = []  # losses, learning rate, bad files: not yet logged

    def write_memory(self, batches: Iterable[Batch]) -> None:
        """Write the first memory; the log holds images that could not be read as bad files of iteration 0."""
        bad_files, total = self.progress.bad_files, self.options.run.first_memory_batches
        feed = BatchFeed(batches, bad_files, self.options.sampling.skip_bad)
        bar = tqdm(map(self.ready, feed), "first memory", total=total, leave=False, disable=rank() > 0)
        with closing(feed), machine.autocast(self.precision, self.device):
            write_first_memory(self.method.net, bar)
        if self.run_log:
            self.run_log.write_bad_files(0, bad_files)

    def ready(self, batch: Batch) -> Batch:
        return batch.ready(self.device, image_in=self.options.network.image_in)

    def run(self, batches: Iterable[Batch]) -> None:
        """Train to the end, or to the first SIGINT or SIGTERM, which ends with ``Interrupted`` once all is saved."""
        start, end = self.progress.iteration, self.timetable.end
        feed = self.feed = BatchFeed(batches, self.progress.bad_files, self.options.sampling.skip_bad)
        bar = tqdm(desc=self.options.run.exp, initial=start, total=end, unit="it", disable=rank() > 0)
        with closing(feed), Interruption() as self.interruption, bar:
            if start and self.pause_due():
                self.conclude()  # the run was stopped before this was done
            feed.fetch()
            if feed.fault:
                raise self.ending()
            self.pace = Pace(feed)
            while feed.batch is not None:
                self.step(self.ready(feed.batch))
                bar.update()
                stop = feed.fetch(signalled=self.interruption.number > 0) or bool(feed.fault)
                done = self.progress.iteration
                if self.timetable.log_due(done):
                    bar.set_postfix(self.flush())
                if stop or self.pause_due() or self.timetable.save_due(done):
                    self.conclude(stop=stop)
                    self.pace.restart()

    def step(self, batch: Batch) -> None:
        torch.manual_seed(seed_of(self.options.run.seed, self.progress.iteration, rank()))
        rate = self.method.scheduler.get_last_lr()[0]
        self.method.objective.count(batch.labels)
        with machine.autocast(self.precision, self.device):
            terms = self.method.step(batch)
        self.pending.append((terms, rate, self.feed.replaced))
        self.feed.count()
        self.progress.iteration += 1

    def validation_due(self) -> bool:
        return self.timetable.validation_due(self.progress.iteration, validated=self.progress.validated)

    def selection_due(self) -> bool:
        whitening = self.method.objective.whitening
        selected = 0 if whitening is None else whitening.taken
        return self.timetable.selection_due(self.progress.iteration, selected=selected)

    def pause_due(self) -> bool:
        return self.validation_due() or self.selection_due()

    def flush(self) -> dict[str, str]:
        """Log the losses and the pace since the last flush; return what the progress bar shows of them.

        Losses are read only here: reading makes a GPU wait.
        """
        if not self.pending:
            return {}
        names = list(self.pending[0][0])
        shares = torch.stack([torch.stack(list(terms.values())) for terms, *_ in self.pending])
        values = all_sum(shares).tolist()
        first = self.progress.iteration - len(values) + 1
        for iteration, (row, (_, rate, bad)) in enumerate(zip(values, self.pending, strict=True), first):
            terms = dict(zip(names, row, strict=True))
            if not all(map(math.isfinite, row)):
                shown = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
                raise CommonError(f"iteration {iteration}: a loss is not finite ({shown}); try a smaller --lr")
            if self.run_log:
                self.run_log.write_bad_files(iteration, bad)
                self.run_log.write("train", iteration, terms | {"lr": rate})
        pace = self.pace.lap(len(values))
        if self.run_log:
            self.run_log.write("pace", self.progress.iteration, pace)
            if self.timetable.log_due(self.progress.iteration):  # not where a signal stops the run
                self.log_health(self.method.health())
        self.pending.clear()
        return {"loss": f"{fmean(map(sum, values)):.3f}", "waiting": f"{pace['waiting']:.0%}"}

    def log_health(self, values: dict[str, float]) -> None:
        """Log the state of a memory; warn once if it is of no use."""
        if not values:
            return
        self.run_log.write("memory", self.progress.iteration, values)
        if dead(values) and self.progress.iteration >= PATIENCE and not self.warned:
            self.warned = True
            log.warning(
                f"warning: all pixels read nearly the same from the memory (mean cosine between items "
                f"{values['item_cosine']:.2f}, entropy of a read {values['read_entropy']:.3f} of its maximum); "
                "docs/training.md says what helps"
            )

    def conclude(self, *, stop: bool = False) -> None:
        """Do what is due besides stepping, save, and end the run if ``stop`` asks for it."""
        self.flush()
        iteration = self.progress.iteration
        if not all(value.isfinite().all() for value in self.method.net.state_dict().values()):
            raise CommonError(f"iteration {iteration}: the weights are not finite any more; try a smaller --lr")
        if self.pause_due() and not stop:
            self.save()  # before what takes long and may meet a broken image
            from_first(None)  # no process reports such an image before all is saved
            try:
                with machine.any_size(self.options.step.compile):
                    if self.selection_due():
                        self.selection.take(self.method, iteration, self.device, leave=self.leave)
                    if self.validation_due():
                        self.validate()
            except Stopped:
                stop = True
            except UsageError as error:  # a broken image; the other processes wait in vain and are ended
                raise UsageError(f"{error}; {self.how_to_continue()}") from error
        self.save()
        if stop:
            raise self.ending()

    def validate(self) -> None:
        """Score all domains.  The mean over the held-out source images chooses the best checkpoint."""
        iteration, results = self.progress.iteration, {}
        predict = Predictor(
            self.method.net,
            device=self.device,
            inference=Inference(),
            gumbel=bool(self.options.scoring.gumbel_eval),
            image_in=self.options.network.image_in,
            precision=self.precision,
        )
        for role, images in [(role, images) for role, group in self.validation.items() for images in group]:
            name, workers = images.spec.name, self.options.machine.workers
            check = {"each": lambda *_: self.leave(alone=True)}
            (scores,) = score_reads(predict, images, scoring=self.options.scoring, workers=workers, **check)
            self.leave()
            results[name] = scores.mean_iou
            if self.run_log:
                self.run_log.write("validation", iteration, summary(scores), domain=name, role=role)
        self.method.net.train()
        self.progress.validated, self.progress.validation = iteration, results
        mean = fmean(results[images.spec.name] for images in self.validation["seen"])
        if mean > self.progress.best:
            self.progress.best, self.progress.best_iteration = mean, iteration
        log.info(f"{iteration}: mIoU {', '.join(f'{name} {100 * value:.1f}' for name, value in results.items())}")

    def leave(self, *, alone: bool = False) -> None:
        """Raise ``Stopped`` if a signal reached any process; all processes call this together.

        Processes call it ``alone`` at different places: there several of them cannot agree to stop.
        """
        if (world_size() == 1 or not alone) and any_rank(self.interruption.number > 0):
            raise Stopped

    def ending(self) -> Interrupted | CommonError:
        """The exception that ends a stopped run, with the command that continues it."""
        self.feed.close()
        from_first(None)  # a launcher ends the other processes soon after the first has left: wait until all is saved
        fault = self.feed.fault
        if not fault:
            return Interrupted(self.how_to_continue(), self.interruption.number or signal.SIGTERM)
        # Before the first iteration there is nothing to continue.
        return CommonError(f"{fault}; {self.how_to_continue()}" if self.progress.iteration else fault)

    def how_to_continue(self) -> str:
        done = f"stopped after iteration {self.progress.iteration} of {self.timetable.end}, all is saved"
        if self.options.run.seeds:
            return f"{done}; repeat the command to go on with this and the other seeds"
        return f"{done}; continue with: {command_to_continue(self.folder, world_size())}"

    def save(self) -> None:
        """Write a checkpoint once the log is on the disk; only the first process does."""
        if not self.run_log:
            return
        self.run_log.flush()
        content = {
            **self.facts,
            "weights": trained_weights(self.method.net, self.facts["network"]["frozen"]),
            "optimizer": self.method.optimizer.state_dict(),
            "scheduler": self.method.scheduler.state_dict(),
            **asdict(self.progress),
        }
        if self.method.objective.whitening is not None:
            content["whitening"] = self.method.objective.whitening.state_dict()
        if self.options.segmentation.logit_adjust:
            content["pixels"] = self.method.objective.pixels
        best = self.progress.best_iteration == self.progress.iteration
        save_numbered(self.folder, content, keep=self.options.run.keep, best=best)
