"""When things happen in a training run: pure functions of the number of iterations done.

The training loop and ``--plan`` read the same timetable.  Imports no torch.
"""

from dataclasses import dataclass

from engine.options.training_options import TrainingOptions
from utils.processes import world_size


@dataclass(frozen=True)
class Timetable:
    """``iteration`` counts the iterations done, from 1 to ``end``."""

    end: int
    log_interval: int
    save_interval: int
    validation_interval: int
    class_uniform_end: int  # class-uniform samples are drawn before this iteration
    first_selection: int | None  # covariance entries are selected after this iteration; None: never
    select_again: bool  # and again after each further ``first_selection`` iterations

    def log_due(self, iteration: int) -> bool:
        return self.is_due(self.log_interval, iteration)

    def save_due(self, iteration: int) -> bool:
        return self.is_due(self.save_interval, iteration)

    def validation_due(self, iteration: int, *, validated: int) -> bool:
        """Whether to validate now; ``validated`` is the iteration of the last validation."""
        return self.is_due(self.validation_interval, iteration) and validated < iteration

    def selection_due(self, iteration: int, *, selected: int) -> bool:
        """Whether to select covariance entries now; ``selected`` is the iteration of the last selection."""
        return self.selections(iteration) > self.selections(selected)

    def selections(self, iteration: int) -> int:
        """How many selections should have happened by then; there is none at the end of the run."""
        if self.first_selection is None:
            return 0
        rounds = min(iteration, self.end - 1) // self.first_selection
        return rounds if self.select_again else min(rounds, 1)

    def is_due(self, interval: int, iteration: int) -> bool:
        return iteration % interval == 0 or iteration == self.end


def timetable_of(options: TrainingOptions) -> Timetable:
    run, sampling, whitening = options.run, options.sampling, options.whitening
    per_iteration = sampling.batch_size * world_size()  # images of a domain
    epoch = max(1, sampling.epoch_size // per_iteration)
    return Timetable(
        end=run.max_iter,
        log_interval=run.log_interval,
        save_interval=run.save_interval,
        validation_interval=run.val_interval or max(1, run.max_iter // 10),
        class_uniform_end=-(-sampling.class_uniform_epochs * sampling.epoch_size // per_iteration),
        first_selection=(whitening.first_epoch + 1) * epoch if whitening.selective else None,
        select_again=whitening.dynamic,
    )
