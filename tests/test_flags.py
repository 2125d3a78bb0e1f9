"""Flags, recipes and schedules."""

import math
import re

import pytest

from engine.options.eval_flags import parse_evaluation
from engine.options.train_flags import parse_training
from optimizer.schedules import decay_factor
from utils.errors import UsageError

COMMON = (
    "--val_dataset cityscapes bdd100k mapillary --arch network.deepv3plus.DeepR50V3PlusD --lr 0.01 --bs_mult 4 --gblur "
    "--color_aug 0.5"
)
MEMORY = "--memory --mem_readloss 0.02 --mem_divloss 0.4 --mem_clsloss 0.2 --mem_momentum 0.8"
RELEASE = {  # the training scripts of the release whose features exist
    "GG": f"--dataset gtav gtav {COMMON} --exp pinmem --mldg {MEMORY} --inner_lr_anneal",
    "GSI": f"--dataset gtav synthia idd {COMMON} --exp pinmem --mldg {MEMORY}",
    "baseline": f"--dataset gtav synthia {COMMON} --exp baseline",
    "mldg": f"--dataset gtav synthia {COMMON} --exp mldg --mldg --inner_lr_anneal",
}
LENGTHS = {"GG": 23_033, "GSI": 112_193, "baseline": 30_463, "mldg": 30_463}


@pytest.mark.parametrize("script", RELEASE)
def test_published_recipe(script: str) -> None:
    args = parse_training([*RELEASE[script].split(), "--recipe", "published"])
    assert args.max_iter == LENGTHS[script] and args.decay_horizon == 120_000 and args.poly_exp == 9
    assert (args.meta_aug, args.gtav_labels, args.mapillary_pad) == ("first_domain", "colour", "road")
    assert (args.gumbel_eval, args.mem_init_batches, args.amp) == (1, 743, "off")


def test_repaired_recipe_and_flags_that_win() -> None:
    args = parse_training(["--max_iter", "750", "--mem_init_batches", "3"])
    assert args.decay_horizon == 2954 and args.meta_aug == "role" and args.gumbel_eval == 0
    assert args.mem_init_batches == 3
    ratio = decay_factor(750, schedule="exp", exponent=args.poly_exp, horizon=args.decay_horizon)
    assert ratio == pytest.approx(decay_factor(30_463, schedule="exp", exponent=9, horizon=120_000), rel=1e-3)
    assert parse_training(["--recipe", "published", "--gumbel_off"]).gumbel_eval == 0
    assert parse_training(["--recipe", "published", "--gtav_labels", "ids"]).gtav_labels == "ids"


def test_published_length_is_not_invented() -> None:
    with pytest.raises(UsageError, match="--max_iter"):
        parse_training(["--recipe", "published", "--dataset", "idd"])
    assert parse_training(["--recipe", "published", "--dataset", "idd", "--max_iter", "5"]).max_iter == 5


def test_schedules() -> None:
    exp = {"schedule": "exp", "exponent": 9, "horizon": 120_000}
    assert decay_factor(0, **exp) == 1
    assert decay_factor(9242, **exp) == pytest.approx(0.5, abs=1e-4)
    assert decay_factor(120_000, **exp) == pytest.approx(math.exp(-9))
    poly = {"schedule": "poly", "exponent": 0.9, "horizon": 40_000}
    assert decay_factor(20_000, **poly) == pytest.approx(0.5**0.9) and decay_factor(40_001, **poly) == 0
    args = parse_training(["--lr_schedule", "poly", "--max_iter", "40000"])
    assert (args.poly_exp, args.decay_horizon) == (0.9, 40_000)


def test_flags_without_effect_are_noted(capsys: pytest.CaptureFixture) -> None:
    parse_training(["--syncbn", "--date", "0101"])
    assert capsys.readouterr().err.count("no effect") == 2


@pytest.mark.parametrize(
    "line",
    [
        "--no_such_flag",
        "--max_iter 0",
        "--mem_momentum 2",
        "--crop_size x",
        "--lr nan",
        "--seed -1",
        "--num_workers -1",
        "--mem_init_batches 0",
        "--scale_min 3 --scale_max 2",
        "--dataset gta5 synthia",
        "--dataset gtav --mldg",
    ],
)
def test_mistakes_exit_with_2(line: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_training(line.split())
    assert stopped.value.code == 2 and "error:" in capsys.readouterr().err


def test_evaluation_needs_a_snapshot(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_evaluation([])
    assert stopped.value.code == 2 and "--snapshot" in capsys.readouterr().err
    assert parse_evaluation(["--snapshot", "x.pth", "--recipe", "published"]).gumbel_eval == 1


def test_seven_norms(capsys: pytest.CaptureFixture) -> None:
    assert parse_training(["--wt_layer", *"0042200"]).wt_layer == [0, 0, 4, 2, 2, 0, 0]
    assert parse_training([]).wt_layer == [0] * 7
    assert parse_evaluation(["--snapshot", "x.pth"]).wt_layer is None
    for line, told in [("0 0 4", "expected 7 arguments"), ("0 0 6 0 0 0 0", "6: give a whole number from 0 to 5")]:
        with pytest.raises(SystemExit):
            parse_training(["--wt_layer", *line.split()])
        assert told in capsys.readouterr().err


def test_help_tells_defaults_of_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_training(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert re.search(r"--val_interval \S+ [^-]*\(default: 0\)", told) and "(default: False)" not in told
