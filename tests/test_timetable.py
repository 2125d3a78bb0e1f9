"""When a run logs, saves, validates and selects covariance entries."""

from dataclasses import replace

import pytest

from engine.options.training_command import parse_training
from engine.timetable import Timetable, timetable_of

TIMES = Timetable(
    end=10,
    log_interval=3,
    save_interval=4,
    validation_interval=6,
    class_uniform_end=5,
    first_selection=None,
    select_again=False,
)


def test_logs_and_saves_also_at_the_end() -> None:
    iterations = range(1, TIMES.end + 1)
    assert [i for i in iterations if TIMES.log_due(i)] == [3, 6, 9, 10]
    assert [i for i in iterations if TIMES.save_due(i)] == [4, 8, 10]


@pytest.mark.parametrize("start", [0, 2, 6])
def test_validations(start: int) -> None:
    """Each is due once, also when the run goes on from the iteration of a validation."""
    validations, validated = [], 6 if start == 6 else 0
    for iteration in range(max(start, 1), TIMES.end + 1):
        if TIMES.validation_due(iteration, validated=validated):
            validations.append(iteration)
            validated = iteration
    assert validations == ([10] if start == 6 else [6, 10])


def test_a_validation_that_a_stop_prevented_is_still_due() -> None:
    assert TIMES.validation_due(6, validated=0) and TIMES.validation_due(10, validated=6)
    assert not TIMES.validation_due(10, validated=10)


def selections(times: Timetable, *, start: int = 0, selected: int = 0) -> list[int]:
    """The iterations after which a run that goes on from ``start`` selects."""
    iterations = []
    for iteration in range(start, times.end + 1):
        if times.selection_due(iteration, selected=selected):
            iterations.append(iteration)
            selected = iteration
    return iterations


@pytest.mark.parametrize(
    ("first", "again", "expected"),
    [
        (None, False, []),
        (4, False, [4]),
        (4, True, [4, 8]),
        (5, True, [5]),  # none at the end of the run: no iteration would use it
        (10, False, []),
        (11, True, []),
    ],
)
def test_selections(first: int | None, again: bool, expected: list[int]) -> None:
    times = replace(TIMES, first_selection=first, select_again=again)
    assert selections(times) == expected


def test_selections_of_a_run_that_goes_on() -> None:
    times = replace(TIMES, first_selection=4, select_again=True)
    assert selections(times, start=4, selected=0) == [4, 8]  # stopped before the selection was done
    assert selections(times, start=4, selected=4) == [8]
    assert selections(times, start=7, selected=4) == [8]
    assert selections(replace(times, select_again=False), start=7, selected=4) == []
    longer = replace(times, end=12)
    assert selections(longer, start=10, selected=8) == []
    assert selections(replace(times, end=13), start=10, selected=8) == [12]


def test_the_timetable_of_a_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = (
        "--max_iter 95 --log_interval 7 --save_interval 8 --bs_mult 2 --epoch_size 9 --max_cu_epoch 3 "
        "--class_uniform_pct 0.5 --wt_layer 0 0 2 0 0 0 0 --wt_reg_weight 0.6 --relax_denom 2 --cov_stat_epoch 1 "
        "--dynamic"
    )
    options = parse_training(line.split())
    assert timetable_of(options) == Timetable(
        end=95,
        log_interval=7,
        save_interval=8,
        validation_interval=9,  # a tenth of the run
        class_uniform_end=14,  # the first iteration that begins after 27 images
        first_selection=8,  # two epochs of four iterations
        select_again=True,
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    several = timetable_of(options)
    assert (several.class_uniform_end, several.first_selection) == (7, 4)  # twice the images per iteration
    assert timetable_of(parse_training(["--max_iter", "5"])).validation_interval == 1
    assert timetable_of(parse_training(["--val_interval", "3"])).first_selection is None
