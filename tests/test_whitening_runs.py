"""Runs with whitening: when and how entries are selected, runs that go on, the plan, mistakes."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_resume import check_equal, flags, run_of
from torch import Tensor

import train as training
from checkpoints.run_files import numbered
from datasets.images import LabelledImages
from datasets.registry import spec
from datasets.sampling.loaders import view_pair_loader
from datasets.transforms import Augmentation
from engine.options.training_command import parse_training
from engine.plan import plan
from engine.timetable import timetable_of
from engine.training.covariance_selection import CovarianceSelection
from engine.training.run import announce
from engine.training.trainer import Trainer
from network.deeplab import Encoder
from support.logs import log_rows
from support.mistakes import training_mistake
from support.tiny_network import tiny_method
from utils.errors import Interrupted, UsageError

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
    terms = [row["inner/whitening"] for row in log_rows(uninterrupted) if row["kind"] == "train"]
    assert len(terms) == 8 and min(terms) > 0  # that of the layer which selects nothing is there at once
    states = [torch.load(path, weights_only=True)["whitening"] for path in numbered(uninterrupted)]
    assert [state["taken"] for state in states] == [6, 6]
    (mask,) = states[-1]["masks"]
    assert mask.shape == (64, 64) and mask.dtype == torch.bool and 0 < mask.sum() < ENTRIES


def test_a_run_that_was_stopped_whitens_the_same(
    data: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once between two selections, whose masks it needs again, and once while it selects, which it does again."""
    step, pairs = Trainer.step, CovarianceSelection.pairs

    def stopping_step(trainer: Trainer, batch: object) -> None:
        step(trainer, batch)
        if trainer.progress.iteration == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    def stopping_pairs(
        selection: CovarianceSelection, images: LabelledImages, seeds: tuple, *rest: object
    ) -> Iterator[Tensor]:
        for number, pair in enumerate(pairs(selection, images, seeds, *rest)):
            if seeds[1:] == (6, 1, 1) and number == 0:  # of mapillary
                os.kill(os.getpid(), signal.SIGTERM)
            yield pair

    monkeypatch.setattr(Trainer, "step", stopping_step)
    monkeypatch.setattr(CovarianceSelection, "pairs", stopping_pairs)
    for moment in (4, 6):
        with pytest.raises(Interrupted, match=f"after iteration {moment} of 8"):
            training.main(flags(data, tmp_path, *ISW) if moment == 4 else ["--resume", str(run_of(tmp_path))])
        newest = torch.load(numbered(run_of(tmp_path))[-1], weights_only=True)
        assert newest["iteration"] == moment and newest["whitening"]["taken"] == 3
    monkeypatch.undo()
    record = run_of(tmp_path) / "flags.json"
    kept = record.read_text()
    changed = json.loads(kept)
    changed["training data"]["mapillary (covariances)"]["images"] += 1
    record.write_text(json.dumps(changed))
    with pytest.raises(UsageError, match=r"started with other images of mapillary \(covariances\)"):
        training.main(["--resume", str(run_of(tmp_path))])
    record.write_text(kept)
    training.main(["--resume", str(run_of(tmp_path))])
    check_equal(run_of(tmp_path), uninterrupted)


def test_images_normalised_by_themselves(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that --image_in trains with: the first memory, every iteration, the statistics and the validation."""
    seen: list[Tensor] = []
    forward = Encoder.forward

    def recording(encoder: Encoder, images: Tensor) -> object:
        seen.extend(images.detach().flatten(1).unbind())
        return forward(encoder, images)

    monkeypatch.setattr(Encoder, "forward", recording)
    training.main(flags(data, tmp_path, *ISW, "--image_in", "--max_iter", "4", "--trials", "1"))
    assert len({len(image) for image in seen}) > 1  # crops and whole images
    for image in seen:
        assert abs(image.mean()) < 1e-3 and abs(image.std() - 1) < 0.05  # the epsilon counts in a dark image


def test_when_entries_are_selected() -> None:
    line = [*LAYERS.split(), "--max_iter", "5000", "--cov_stat_epoch", "1"]
    times = timetable_of(parse_training(line))
    assert times.first_selection == 2 * 743  # the release's epochs: 2975 images, four at once
    assert [times.selections(iteration) for iteration in (0, 1485, 1486, 2972, 5000)] == [0, 0, 1, 1, 1]
    times = timetable_of(parse_training([*line, "--dynamic", "--max_iter", "2972"]))
    assert [times.selections(iteration) for iteration in (1486, 2971, 2972)] == [1, 1, 1]  # never at the end


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
    line = f"--wt_reg_weight 0.0 --relax_denom 0.0 {zeros} --covstat_val_dataset gtav --val_dataset --wt_layer {layers}"
    parse_training(line.split())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--wt_reg_weight 0.6 --wt_layer 0 0 4 4 4 0 0", "--wt_reg_weight changes nothing without --wt_layer 1 or 2"),
        ("--dynamic --wt_reg_weight 0.6 --wt_layer 0 0 1 0 0 0 0", "--dynamic changes nothing without --wt_layer 2"),
        ("--wt_reg_weight 1 --wt_layer 0 0 2 0 0 0 0 --clusters 1", "--clusters 1: --wt_layer 2 spares one cluster"),
        ("--wt_reg_weight 1 --wt_layer 0 0 2 0 0 0 0 --trials 0", "--trials 0: --wt_layer 2 must select"),
        ("--wt_reg_weight 1 --wt_layer 0 0 1 0 0 0 0 --relax_denom 1", "--relax_denom 1: leaves nothing to whiten"),
        ("--covstat_val_dataset gta5", "no data set is called gta5"),
        ("--covstat_images 0", "0: give a whole number of 1 or more"),
        ("--wt_layer 0 4 4 0 0 0 0", "--wt_layer 0 4 4 0 0 0 0: the stem of DeepR50V3PlusD has one place for a norm"),
        ("--crop_size 16 --wt_layer 0 0 0 0 0 4 0", "--crop_size 16: one pixel is too few for the norm"),
        ("--arch DeepR18V3PlusD --crop_size 32 --wt_layer 0 0 0 0 0 0 1", "stage 4, at a stride of 32; give more than"),
    ],
)
def test_mistakes(line: str, message: str, capsys: pytest.CaptureFixture) -> None:
    assert message in training_mistake(line, capsys)


def test_missing_parts_end_a_run_early(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no folder cityscapes"):
        training.main(flags(data, tmp_path, *ISW, "--covstat_val_dataset", "cityscapes"))
    monkeypatch.setitem(sys.modules, "kmeans1d", None)
    with pytest.raises(UsageError, match=r"--wt_layer 2: the package kmeans1d cannot be loaded .*pip install kmeans1d"):
        training.main(flags(data, tmp_path, *ISW, "--plan"))
    assert not list(tmp_path.iterdir())
    training.main(flags(data, tmp_path, *ISW, "--relax_denom", "4", "--max_iter", "4"))  # which needs no clusters
    (mask,) = torch.load(run_of(tmp_path) / "last.pth", weights_only=True)["whitening"]["masks"]
    assert 0 < mask.sum() <= ENTRIES - ENTRIES // 4


@pytest.mark.parametrize(
    ("extra", "lines"),
    [
        ("", "selected after iteration 3, and again after every 3 more\n            by 2 images of gtav, 2 times\n"),
        ("--cov_stat_epoch 3", "selected after iteration 12, and again after every 12 more, which is past the end"),
    ],
)
def test_the_plan(extra: str, lines: str, data: Path, tmp_path: Path) -> None:
    assert lines in plan(parse_training(flags(data, tmp_path, *ISW, *extra.split())))


@pytest.mark.parametrize(("layers", "named"), [("0022000", "2"), ("0021000", "1 and 2"), ("0044400", "")])
def test_norms_without_a_loss_are_reported_once(
    layers: str, named: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """In the plan and at the start of training."""
    options = parse_training(flags(data, tmp_path, "--wt_layer", *layers))
    announce(options, tiny_method("pinmem"), tmp_path, [], copies=0)
    for text in (plan(options), capsys.readouterr().out):
        lines = [line for line in text.splitlines() if "whitening" in line]
        expected = f"whitening   none: --wt_layer {named} normalises only, since --wt_reg_weight is 0"
        assert lines == ([expected] if named else [])
