"""Runs with whitening: when entries are selected, by what, runs that go on, what is told and refused."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from test_resume import check_equal, flags, run_of
from torch import Tensor

import train as training
from checkpoints.run_files import numbered
from datasets.images import LabelledImages
from datasets.registry import spec
from datasets.sampling.view_pairs import view_pair_loader
from datasets.transforms import Augmentation
from engine.build import training_domains
from engine.data_report import validation_sets
from engine.options.train_flags import parse_training
from engine.options.whitening_flags import first_selection, selections_due
from engine.plan import plan
from engine.training.covariance_selection import Selection
from engine.training.interruption import Interrupted
from engine.training.run import announce
from engine.training.trainer import Trainer
from network.deeplab import Encoder
from support.tiny_network import tiny_method
from utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("thin_resnet")
LAYERS = "--wt_layer 0 0 1 0 0 0 2 --wt_reg_weight 0.6"
ROUNDS = "--cov_stat_epoch 0 --epoch_size 7 --dynamic --trials 2 --covstat_val_dataset gtav mapillary"
ISW = [*LAYERS.split(), *ROUNDS.split(), "--clusters", "3", "--num_workers", "0"]  # after iterations 3 and 6 of 8
ENTRIES = 64 * 63 // 2


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    training.main(flags(data, out, *ISW))
    return run_of(out)


def test_the_term_and_its_masks(uninterrupted: Path) -> None:
    rows = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    terms = [row["inner/whitening"] for row in rows if row["kind"] == "train"]
    assert len(terms) == 8 and min(terms) > 0  # that of the layer which selects nothing is there at once
    states = [torch.load(path, weights_only=True)["whitening"] for path in numbered(uninterrupted)]
    assert [state["taken"] for state in states] == [6, 6]
    (mask,) = states[-1]["masks"]
    assert mask.shape == (64, 64) and mask.dtype == torch.bool and 0 < mask.sum() < ENTRIES
    (events,) = (uninterrupted / "tensorboard").iterdir()
    assert b"whitening/layer_1" in events.read_bytes()


def test_a_run_that_was_stopped_whitens_the_same(
    data: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once between two selections, whose masks it needs again, and once while it selects, which it does again."""
    step, pairs = Trainer.step, Selection.pairs

    def stopping_step(trainer: Trainer, batch: object) -> None:
        step(trainer, batch)
        if trainer.progress.iteration == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    def stopping_pairs(selection: Selection, images: LabelledImages, seeds: tuple, *rest: object) -> Iterator[Tensor]:
        for number, pair in enumerate(pairs(selection, images, seeds, *rest)):
            if seeds[1:] == (6, 1, 1) and number == 0:  # of mapillary
                os.kill(os.getpid(), signal.SIGTERM)
            yield pair

    monkeypatch.setattr(Trainer, "step", stopping_step)
    monkeypatch.setattr(Selection, "pairs", stopping_pairs)
    for moment in (4, 6):
        with pytest.raises(Interrupted, match=f"after iteration {moment} of 8"):
            training.main(flags(data, tmp_path, *ISW) if moment == 4 else ["--resume", str(run_of(tmp_path))])
        newest = torch.load(numbered(run_of(tmp_path))[-1], weights_only=True)
        assert newest["iteration"] == moment and newest["whitening"]["taken"] == 3
    monkeypatch.undo()
    kept = (run_of(tmp_path) / "flags.json").read_text()
    told = json.loads(kept)
    told["training data"]["mapillary (covariances)"]["images"] += 1
    (run_of(tmp_path) / "flags.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match=r"started with other images of mapillary \(covariances\)"):
        training.main(["--resume", str(run_of(tmp_path))])
    (run_of(tmp_path) / "flags.json").write_text(kept)
    training.main(["--resume", str(run_of(tmp_path))])
    check_equal(run_of(tmp_path), uninterrupted)


def test_images_normalised_by_themselves(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that --image_in trains with: the first memory, every iteration, the statistics and the validation."""
    seen: dict[str, list[Tensor]] = {}
    stages = ["first memory"]
    forward, run, take, validate = Encoder.forward, Trainer.run, Selection.take, Trainer.validate

    def recording(encoder: Encoder, images: Tensor, *rest: object) -> object:
        seen.setdefault(stages[-1], []).extend(images.detach().flatten(1).unbind())
        return forward(encoder, images, *rest)

    def staged(stage: str, function: Callable) -> Callable:
        def inner(*args: object, **kwargs: object) -> object:
            stages.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                stages.pop()

        return inner

    monkeypatch.setattr(Encoder, "forward", recording)
    monkeypatch.setattr(Trainer, "run", staged("iterations", run))
    monkeypatch.setattr(Selection, "take", staged("statistics", take))
    monkeypatch.setattr(Trainer, "validate", staged("validation", validate))
    training.main(flags(data, tmp_path, *ISW, "--image_in", "--max_iter", "4", "--trials", "1"))
    assert seen.keys() == {"first memory", "iterations", "statistics", "validation"}
    for images in seen.values():
        for image in images:
            assert abs(image.mean()) < 1e-3 and abs(image.std() - 1) < 1e-2


def test_when_entries_are_selected() -> None:
    line = [*LAYERS.split(), "--max_iter", "5000", "--cov_stat_epoch", "1"]
    args = parse_training(line)
    assert first_selection(args) == 2 * 743  # the release's epochs: 2975 images, four at once
    due = [selections_due(args, iteration) for iteration in (0, 1485, 1486, 2972, 5000)]
    assert due == [0, 0, 1, 1, 1]
    args = parse_training([*line, "--dynamic", "--max_iter", "2972"])
    assert [selections_due(args, iteration) for iteration in (1486, 2971, 2972)] == [1, 1, 1]  # never at the end


def test_views_differ_in_colour_and_are_drawn_by_trial_and_image(data: Path) -> None:
    images = LabelledImages(spec("gtav"), data, "val")

    def pairs(*seeds: int, indices: range = range(2), workers: int = 0) -> Tensor:
        loader = view_pair_loader(images, Augmentation(crop_size=48), seeds=seeds, indices=indices, workers=workers)
        return torch.stack(list(loader))

    first = pairs(1, 2)
    assert first.shape == (2, 2, 3, 48, 48) and first.dtype == torch.uint8
    assert torch.equal(pairs(1, 2, workers=2), first) and torch.equal(pairs(1, 2, indices=range(1, 2)), first[1:])
    assert not torch.equal(pairs(1, 3), first) and not torch.equal(first[0], first[1])
    changed, plain = first.float().unbind(dim=1)
    assert (changed - plain).abs().mean() > 5
    for a, b in zip(changed.mean(dim=1), plain.mean(dim=1), strict=True):  # but show the same
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].abs() > 0.7


@pytest.mark.parametrize("zeros", ["--cov_stat_epoch 0 --trials 0 --clusters 0", "--clusters 50"])
@pytest.mark.parametrize("layers", ["0 0 0 0 0 0 0", "0 0 4 4 4 0 0", "0 0 2 2 2 0 0"])
def test_the_release_s_zeros_are_silent(zeros: str, layers: str, capsys: pytest.CaptureFixture) -> None:
    line = f"--wt_reg_weight 0.0 --relax_denom 0.0 {zeros} --covstat_val_dataset gtav --wt_layer {layers}"
    parse_training(line.split())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--wt_reg_weight 0.6 --wt_layer 0 0 4 4 4 0 0", "--wt_reg_weight changes nothing without --wt_layer 1 or 2"),
        ("--dynamic --wt_reg_weight 0.6 --wt_layer 0 0 1 0 0 0 0", "--dynamic changes nothing without --wt_layer 2"),
        ("--wt_reg_weight 1 --wt_layer 0 0 2 0 0 0 0 --clusters 1", "--clusters 1: --wt_layer 2 spares one cluster"),
        ("--wt_reg_weight 1 --wt_layer 0 0 2 0 0 0 0 --trials 0", "--trials 0: --wt_layer 2 must select"),
        ("--wt_reg_weight 1 --wt_layer 0 0 1 0 0 0 0 --relax_denom 1", "--relax_denom 1: leaves nothing to whiten"),
        ("--covstat_val_dataset gta5", "no data set is called gta5"),
        ("--covstat_images 0", "0: give a whole number of 1 or more"),
    ],
)
def test_mistakes(line: str, told: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_training(line.split())
    (error,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and told in error


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--wt_layer 0 4 4 0 0 0 0", "--wt_layer 0 4 4 0 0 0 0: the stem of DeepR50V3PlusD has one place for a norm"),
        ("--crop_size 16 --wt_layer 0 0 0 0 0 4 0", "--crop_size 16: leaves one pixel, by which nothing can be norm"),
        (
            "--arch DeepR18V3PlusD --crop_size 32 --wt_layer 0 0 0 0 0 0 1",
            "stage 4, at a stride of 32; give more than 32",
        ),
    ],
)
def test_norms_that_cannot_be(line: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_training(line.split())
    parse_training(line.replace("--wt_layer 0 4", "--wt_layer 0 0").replace("--crop_size ", "--crop_size 1").split())


def test_what_is_missing_is_told_before_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no folder cityscapes"):
        training.main(flags(data, tmp_path, *ISW, "--covstat_val_dataset", "cityscapes"))
    monkeypatch.setitem(sys.modules, "kmeans1d", None)
    with pytest.raises(UsageError, match=r"--wt_layer 2: the package kmeans1d cannot be loaded .*pip install kmeans1d"):
        training.main(flags(data, tmp_path, *ISW, "--plan"))
    monkeypatch.undo()
    with pytest.raises(UsageError, match="--clusters 2018: a layer has 2,017 different numbers"):
        training.main(flags(data, tmp_path, *ISW, "--clusters", "2018"))
    monkeypatch.setitem(sys.modules, "kmeans1d", None)
    assert not list(tmp_path.iterdir())
    training.main(flags(data, tmp_path, *ISW, "--relax_denom", "4", "--max_iter", "4"))  # which needs no clusters
    (mask,) = torch.load(run_of(tmp_path) / "last.pth", weights_only=True)["whitening"]["masks"]
    assert 0 < mask.sum() <= ENTRIES - ENTRIES // 4


def test_the_plan_tells_it(data: Path, tmp_path: Path) -> None:
    def told(*extra: str) -> str:
        return plan(parse_training(flags(data, tmp_path, *ISW, *extra)))

    text = told()
    assert "weight 0.6, of 1 layer with --wt_layer 1: all entries" in text
    assert "weight 0.6, of 1 layer with --wt_layer 2: all entries but the lowest of 3 clusters" in text
    assert "selected after iteration 3, and again after every 3 more" in text
    assert "by 2 images of gtav, 2 times" in text and "by 2 images of mapillary, 2 times" in text
    assert "selected after iteration 12, and again after every 12 more, which is past the end" in told(
        "--cov_stat_epoch", "3"
    )
    assert "all entries, as far as they exceed 1/32 on average" in told("--relax_denom", "32")


@pytest.mark.parametrize(("layers", "named"), [("0022000", "2"), ("0021000", "1 and 2"), ("0044400", "")])
def test_norms_without_a_loss_are_told_once(
    layers: str, named: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """In the plan and at the start of training, and only where there is something to tell."""
    args = parse_training(flags(data, tmp_path, "--wt_layer", *layers))
    announce(args, tiny_method(mldg=True, memory=True), tmp_path, training_domains(args), validation_sets(args))
    for told in (plan(args), capsys.readouterr().out):
        lines = [line for line in told.splitlines() if "whitening" in line]
        expected = f"whitening   none: --wt_layer {named} normalises only, since --wt_reg_weight is 0"
        assert lines == ([expected] if named else [])
