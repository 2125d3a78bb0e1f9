"""Files: written whole under names that cannot meet, in folders with one writer; pipes and devices are never read."""

import os
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from checkpoints.run_files import numbered, save_numbered
from support.disks import largest_file
from support.holders import held
from utils.errors import UsageError
from utils.files import hold, whole_file, write_text

ROOT = Path(__file__).parent.parent


def test_temporary_names_never_meet(tmp_path: Path) -> None:
    """Not even those of processes with one number, on two machines or in two containers."""
    with ExitStack() as stack:
        paths = [stack.enter_context(whole_file(tmp_path / name)) for name in ("a.png", "b.png", "b.png")]
        for path in paths:
            path.write_text(path.name)
        assert len(set(paths)) == 3
    assert (tmp_path / "a.png").read_text() == paths[0].name and len(list(tmp_path.iterdir())) == 2


def test_errors_name_the_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent" / "x", tmp_path / "file" / "x"):
        with pytest.raises(OSError) as error:
            write_text(path, "text")
        assert error.value.filename == str(path)
    assert (tmp_path / "pipe").is_fifo() and not list(tmp_path.glob(".*"))


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    refused = pytest.raises(UsageError, match=f"{tmp_path}/.lock: held by another program")
    with held(tmp_path), refused, hold(tmp_path):
        pass
    with hold(tmp_path) as folder:  # which the system has freed
        assert folder == tmp_path
    with pytest.raises(OSError) as error, hold(tmp_path):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path)


def test_a_first_checkpoint_without_space(tmp_path: Path) -> None:
    """There is nothing yet from which the run could go on."""
    save = partial(save_numbered, tmp_path, keep=1, best=False)
    with largest_file(1000), pytest.raises(UsageError, match="free some space, then start again"):
        save({"iteration": 1, "weights": torch.zeros(1000)})
    save({"iteration": 1})
    with largest_file(1000), pytest.raises(UsageError, match=f"then continue with --resume {tmp_path}; earlier"):
        save({"iteration": 2, "weights": torch.zeros(1000)})


def test_only_seven_digits_are_ours(tmp_path: Path) -> None:
    theirs = [
        "iteration_0000001_before_crash.pth",
        "iteration_1.pth",
        "iteration_00000001.pth",
        "x.partial",
        ".x.partial",
    ]
    for name in (*theirs, f".{32 * 'a'}.partial"):
        (tmp_path / name).write_text("precious")
    for iteration in (1, 2, 3):
        save_numbered(tmp_path, {"iteration": iteration, "weights": torch.zeros(1)}, keep=1, best=False)
    with hold(tmp_path):
        (tmp_path / ".lock").unlink()
    assert [path.name for path in numbered(tmp_path)] == ["iteration_0000003.pth"]
    assert {path.name for path in tmp_path.iterdir()} == {*theirs, "iteration_0000003.pth", "last.pth"}


READERS = """
import sys
from pathlib import Path
from utils.safe_loading import load_safely
from datasets.decoding import read_image
from utils.files import refuse_special_files
refuse_special_files()
Path("/dev/null").read_text()
Path("/proc/self/stat").read_text()
for read in (Path.read_text, Path.read_bytes, read_image, load_safely):
    try:
        read(Path(sys.argv[1]))
    except Exception as error:
        causes = [error, error.__context__, error.__cause__]
        print(any("not a regular file" in str(cause) for cause in causes))
"""


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_not_read(kind: str, tmp_path: Path) -> None:
    """A pipe would wait for ever, and /dev/zero never end."""
    path = tmp_path / "x.png"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    done = subprocess.run(
        [sys.executable, "-c", READERS, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["True"] * 4, done.stderr


def test_the_doctor_and_the_tools_answer(data: Path, root: Path, tmp_path: Path) -> None:
    image = min((root / "GTAV/images/train").rglob("*.png"))
    label = Path(str(image).replace("/images/", "/labels/"))
    Image.new("L", (128, 64)).save(label)
    image.unlink()
    os.mkfifo(image)
    os.mkfifo(tmp_path / "results.json")
    for command, message in (
        (
            ["datasets.check", str(root), "--dataset", "gtav"],
            f"{image}: unreadable image ([Errno 22] not a regular",
        ),
        (["tools.compare", f"x={tmp_path}"], "results.json: cannot be used ([Errno 22] not a regular file"),
    ):
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert message in done.stdout + done.stderr
