"""Files that cannot be read, and workers that die, in the middle of training: one line, and the run goes on exactly."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_resume import run_of, tensors

import train as training
from checkpoints.run_files import numbered
from datasets.sampling.loaders import Batch
from engine import build
from engine.training.trainer import Trainer
from support.logs import log_rows, repeatable
from support.ranks import run_ranks
from support.tiny_network import TinyNet
from utils.errors import Interrupted, UsageError
from utils.processes import rank
from utils.program import run_program

Moment = Callable[[], object]


def flags(data: Path, out: Path, *extra: str) -> list[str]:
    line = (
        f"--data_root {data} --exp_root {out} --exp run --dataset gtav --val_dataset --arch DeepR18V3PlusD "
        "--pretrained_backbone none --crop_size 48 --bs_mult 2 --max_iter 6 --val_interval 3 --val_images 1 "
        "--log_interval 4 --num_workers 0 --device cpu --color_aug 0.5"
    )
    return [*line.split(), *extra]


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Training of a network that costs no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "network_from", tiny_network)
        yield


def tiny_network(config: dict, *, pretrained: str) -> TinyNet:
    net = TinyNet(memory=bool(config["memory"]))
    net.aux = None
    return net


def check_equal(run: Path, expected: Path) -> None:
    ours, theirs = checkpoint(run), checkpoint(expected)
    torch.testing.assert_close(dict(tensors(ours)), dict(tensors(theirs)), rtol=0, atol=0, equal_nan=True)
    for key in ("iteration", "validation", "validated", "best", "best_iteration", "scheduler"):
        assert ours[key] == theirs[key]
    assert repeatable(run) == repeatable(expected)


def after(iteration: int, act: Moment, patch: pytest.MonkeyPatch) -> None:
    """``act`` at the end of a step."""
    step = Trainer.step

    def stepped(trainer: Trainer, batch: Batch) -> None:
        step(trainer, batch)
        if trainer.progress.iteration == iteration:
            act()

    patch.setattr(Trainer, "step", stepped)


def images(root: Path, split: str = "train") -> list[Path]:
    return sorted((root / "GTAV/images" / split).rglob("*.png"))


def truncate(*paths: Path) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes()[:500])


def restore(root: Path, whole: Path) -> None:
    for path in (*images(whole), *images(whole, "valid")):
        shutil.copy2(path, root / path.relative_to(whole))


def kill_worker() -> None:
    worker = multiprocessing.active_children()[-1]
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()


def checkpoint(run: Path) -> dict:
    return torch.load(run / "last.pth", weights_only=True)


def bad_rows(run: Path) -> list[dict]:
    return [row for row in log_rows(run) if row["kind"] == "bad_file"]


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    training.main(flags(data, out))
    return run_of(out)


def ends(argv: list[str], capfd: pytest.CaptureFixture) -> str:
    """The one line with which a training ends after a mistake."""
    with pytest.raises(SystemExit) as end:
        run_program("train.py", lambda: training.main(argv))
    output = "".join(capfd.readouterr())
    assert end.value.code == 2 and "Traceback" not in output
    (line,) = [line for line in output.splitlines() if "error" in line]
    return line.rpartition("\r")[2]


TROUBLES = {  # the iteration, flags, what happens, and what is said about it
    "a bad file": (2, [], lambda root: truncate(*images(root)), "GTAV/images/train/ unreadable image --skip_bad N;"),
    "a dead worker": (
        2,
        ["--num_workers", "2"],
        lambda root: kill_worker(),
        "--num_workers 2: a process that loads data died (killed by SIGKILL)",
    ),
    "a bad file in a validation": (
        3,
        ["--skip_bad", "9"],
        lambda root: truncate(*images(root, "valid")),
        "GTAV/images/valid/ unreadable image",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_all_is_saved_at_once_and_the_run_goes_on(
    trouble: str, data: Path, root: Path, uninterrupted: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    iteration, extra, act, message = TROUBLES[trouble]
    began: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        after(iteration, lambda: (act(root), began.append(time.monotonic())), patch)
        line = ends(flags(root, tmp_path, *extra), capfd)
    assert time.monotonic() < began[0] + 3
    run = run_of(tmp_path)
    assert line.startswith("train.py: error: ") and all(word in line for word in message.split())
    assert f"stopped after iteration {iteration} of 6, all is saved" in line and f"--resume {run}" in line
    assert numbered(run)[-1].name == f"iteration_000000{iteration}.pth"
    restore(root, data)
    training.main(["--resume", str(run)])
    check_equal(run, uninterrupted)


def test_full_shared_memory_saves_all(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    share, shared = torch.Tensor.share_memory_, []

    def attempt(tensor: torch.Tensor) -> torch.Tensor:
        shared.append(tensor)
        if len(shared) > 2 * 3:  # two batches of images, labels and roles
            raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left (28)")
        return share(tensor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "share_memory_", attempt)
        line = ends(flags(data, tmp_path, "--num_workers", "1"), capfd)
    assert line.startswith("train.py: error: /dev/shm: is full") and "--shm-size" in line and "--num_workers 0" in line
    assert "stopped after iteration 2 of 6, all is saved" in line
    assert numbered(run_of(tmp_path))[-1].name == "iteration_0000002.pth"


def test_bad_files_are_replaced_and_counted_across_stops(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """Two bad files; with one allowed the second stops the run, which then goes on with two, and once more."""
    labels = [Path(str(path).replace("images", "labels")) for path in images(root)]
    Image.new("L", Image.open(labels[1]).size, 200).save(labels[1])  # no id of the data set
    truncate(images(root)[3])
    training.main(flags(root, tmp_path / "whole", "--skip_bad", "2"))
    output, whole = capfd.readouterr().out, run_of(tmp_path / "whole")
    assert "bad files that were replaced: 2 (gtav " in output and output.count("another image takes its place") == 2
    assert len(bad_rows(whole)) == 2 == len(checkpoint(whole)["bad_files"])
    first, second = (row["iteration"] for row in bad_rows(whole))
    assert 1 <= first < second < 6, "the seed does not fit this test"

    line = ends(flags(root, tmp_path / "parts", "--skip_bad", "1", "--no_check"), capfd)
    run = run_of(tmp_path / "parts")
    assert "; to replace more than 1 bad images by others: --skip_bad N; stopped after" in line
    assert checkpoint(run)["iteration"] == second - 1 and len(checkpoint(run)["bad_files"]) == 1
    again = ["--resume", str(run), "--skip_bad", "2"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        after(second, lambda: os.kill(os.getpid(), signal.SIGTERM), patch)
        training.main(again)
    training.main([*again, "--num_workers", "2"])
    check_equal(run, whole)
    assert checkpoint(run)["bad_files"] == checkpoint(whole)["bad_files"]


def test_the_first_memory_replaces_too(root: Path, tmp_path: Path) -> None:
    truncate(*images(root)[:2])
    extra = ["--memory", "--mem_init_batches", "4", "--max_iter", "1"]
    training.main(flags(root, tmp_path, *extra, "--skip_bad", "2"))
    first, *_ = bad_rows(run_of(tmp_path))
    assert first["iteration"] == 0 and first["image"].startswith("gtav ") and "unreadable image" in first["fault"]
    with pytest.raises(UsageError, match=r"unreadable image .*--skip_bad N$"):
        training.main(flags(root, tmp_path / "none", *extra, "--no_check"))


def test_the_check_before_the_start_allows_as_many(root: Path, tmp_path: Path) -> None:
    truncate(*images(root)[:2])
    with pytest.raises(UsageError, match=r"\(errors in a sample of the files: 2; "):
        training.main(flags(root, tmp_path, "--skip_bad", "1"))
    truncate(*images(root, "valid"))
    with pytest.raises(UsageError, match=r"images/valid/.*unreadable.*errors in a sample"):  # scores need all images
        training.main(flags(root, tmp_path, "--skip_bad", "9"))


def in_both(roots: list[Path], out: Path) -> list[tuple[str, int]]:
    """How three runs end in a process with its own data: the error, and the iterations done."""
    multiprocessing.set_start_method("fork", force=True)  # as under torchrun
    mine, ends = roots[rank()], []
    troubles = [
        ([1], lambda: truncate(*images(mine)), "--num_workers 0"),
        ([1], kill_worker, "--num_workers 1"),
        ([0, 1], lambda: truncate(images(mine)[rank()]), "--skip_bad 1 --max_iter 30"),
    ]
    for number, (ranks, act, extra) in enumerate(troubles):
        line = ["--bs_mult", "1", "--no_check", "--val_interval", "30", *extra.split()]
        with pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError) as error:
            patch.setattr(build, "network_from", tiny_network)
            if rank() in ranks:
                after(2, act, patch)
            training.main(flags(mine, out / str(number), *line))
        restore(mine, roots[2])
        ends.append((str(error.value), checkpoint(run_of(out / str(number)))["iteration"]))
    return ends


def test_processes_stop_together(data: Path, tmp_path: Path) -> None:
    roots = [tmp_path / "first", tmp_path / "second", data]
    for own in roots[:2]:
        shutil.copytree(data, own)
    first, second = run_ranks(in_both, 2, tmp_path, roots, tmp_path / "out")
    assert first == second
    (bad, bad_at), (dead, dead_at), (beyond, beyond_at) = first
    assert f"{roots[1]}/GTAV" in bad and "stopped after iteration 2 of 6" in bad and bad_at == dead_at == 2
    assert "torchrun --nproc_per_node 2 train.py --resume" in bad
    assert "--num_workers 1: a process that loads data died (killed by SIGKILL)" in dead
    assert "to replace more than 1 bad images by others" in beyond and beyond_at >= 2
