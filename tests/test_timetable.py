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


def test_logs_saves_and_validations_also_at_the_end() -> None:
    iterations = range(1, TIMES.end + 1)
    assert [i for i in iterations if TIMES.log_due(i)] == [3, 6, 9, 10]
    assert [i for i in iterations if TIMES.save_due(i)] == [4, 8, 10]
    assert [i for i in iterations if TIMES.validation_due(i, validated=0)] == [6, 10]
    assert not TIMES.validation_due(6, validated=6) and not TIMES.validation_due(10, validated=10)


@pytest.mark.parametrize(
    ("times", "start", "selected", "expected"),
    [
        ({}, 0, 0, []),
        ({"first_selection": 4}, 0, 0, [4]),
        ({"first_selection": 4}, 7, 4, []),
        ({"first_selection": 4, "select_again": True}, 0, 0, [4, 8]),
        ({"first_selection": 4, "select_again": True}, 4, 0, [4, 8]),  # stopped before the selection was done
        ({"first_selection": 4, "select_again": True}, 4, 4, [8]),
        ({"first_selection": 4, "select_again": True, "end": 12}, 10, 8, []),  # none at the end: nothing would use it
        ({"first_selection": 4, "select_again": True, "end": 13}, 10, 8, [12]),
        ({"first_selection": 10}, 0, 0, []),
    ],
)
def test_selections(times: dict, start: int, selected: int, expected: list[int]) -> None:
    """The iterations after which a run that goes on from ``start`` selects; the last selection was at ``selected``."""
    times, iterations = replace(TIMES, **times), []
    for iteration in range(start, times.end + 1):
        if times.selection_due(iteration, selected=selected):
            iterations.append(iteration)
            selected = iteration
    assert iterations == expected


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
