"""The flags of train.py: recipes, methods by name, schedules."""

import math

import pytest

from engine.options.training_command import parse_training
from engine.options.training_options import TrainingOptions
from optimizer.schedules import decay_factor
from utils.errors import CommonError


def options_of(line: str) -> TrainingOptions:
    return parse_training(line.split())


def test_repaired_recipe() -> None:
    flags = options_of("--max_iter 750").flags
    assert (flags["meta_aug"], flags["gtav_labels"], flags["mapillary_pad"]) == ("role", "ids", "ignore")
    assert (flags["gumbel_eval"], flags["mem_init_batches"], flags["amp"]) == (0, 50, "auto")


def test_a_given_flag_wins_over_the_recipe() -> None:
    flags = options_of("--recipe published --gumbel_off --gtav_labels ids --mem_init_batches 3").flags
    assert (flags["gumbel_eval"], flags["gtav_labels"], flags["mem_init_batches"]) == (0, "ids", 3)


def test_no_length_is_invented_for_the_published_recipe() -> None:
    with pytest.raises(CommonError, match="--max_iter: no length was published for idd with DeepR50V3PlusD; give one"):
        options_of("--recipe published --dataset idd")
    assert options_of("--recipe published --dataset idd --max_iter 5").run.max_iter == 5


def test_short_runs_decay_as_the_published_run() -> None:
    optimizer = options_of("--max_iter 750").optimizer
    assert optimizer.horizon == 2954
    published = decay_factor(30_463, schedule="exp", exponent=9, horizon=120_000)
    assert optimizer.rate(750) / optimizer.lr == pytest.approx(published, rel=1e-3)


def test_schedules() -> None:
    exp = {"schedule": "exp", "exponent": 9, "horizon": 120_000}
    assert decay_factor(0, **exp) == 1
    assert decay_factor(9242, **exp) == pytest.approx(0.5, abs=1e-4)
    assert decay_factor(120_000, **exp) == pytest.approx(math.exp(-9))
    poly = options_of("--lr_schedule poly --max_iter 40000 --lr 1").optimizer
    assert (poly.exponent, poly.horizon) == (0.9, 40_000)
    assert poly.rate(20_000) == pytest.approx(0.5**0.9) and poly.rate(40_001) == 0


@pytest.mark.parametrize(
    ("method", "flags"),
    [("baseline", ""), ("mldg", "--mldg"), ("memory", "--memory"), ("pinmem", "--mldg --memory")],
)
def test_a_method_by_name_or_by_the_flags_of_the_release(method: str, flags: str) -> None:
    assert options_of(f"--method {method}") == options_of(flags) == options_of(f"--method {method} {flags}")
    assert options_of(flags).method_name == method


def test_the_tuned_recipe_changes_the_memory_and_the_meta_split() -> None:
    repaired, tuned = (options_of(f"--method pinmem --recipe {name} --max_iter 9") for name in ("repaired", "tuned"))
    assert repaired.network.read_temp == repaired.method.temperature == 1 and repaired.method.cohesion == 0.02
    assert repaired.method.gumbel and repaired.method.meta_split == "domains"
    assert not (repaired.network.centred or repaired.network.residual)
    assert tuned.network.read_temp == tuned.method.temperature == 0.1 and tuned.method.cohesion == 0.2
    assert tuned.network.centred and tuned.network.residual
    assert not tuned.method.gumbel and tuned.method.meta_split == "all"
    assert (repaired.segmentation.logit_adjust, tuned.segmentation.logit_adjust) == (0, 0.5)
    given = options_of("--method pinmem --recipe tuned --no-gumbel_off --no-mem_centred --read_temp 1 --max_iter 9")
    assert given.method.gumbel and not given.network.centred and given.network.read_temp == 1


def test_help_shows_the_defaults_of_all_recipes(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        options_of("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "weight of feature cohesion (default: 0.02; tuned: 0.2)" in text
    assert "(default: 3.94 times --max_iter; published: 120000)" in text
    assert "sources (default: gtav synthia; of" in text
    assert "[recipe]" not in text and "['" not in text


def test_a_learning_rate_of_sgd_is_noted_for_adamw(capsys: pytest.CaptureFixture) -> None:
    options_of("--optimizer adamw --val_dataset")
    assert not capsys.readouterr().err
    options_of("--optimizer adamw --lr 0.01 --val_dataset")
    assert capsys.readouterr().err == "note: --lr 0.01 is a rate for SGD; usual for adamw is 0.0001\n"
