"""eval.py --images with videos and cameras: all frames, in order, with their sound; nothing is left half done."""

import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eval as evaluation
from datasets.labels import STANDARD
from engine.evaluating.prediction import Inference, Predictor
from engine.evaluating.video_labels import label_video
from support.programs import exit_code
from support.ranks import run_ranks
from support.snapshots import write_snapshot
from support.tiny_network import TinyNet
from utils import videos
from utils.errors import Interrupted

pytestmark = pytest.mark.usefixtures("thin_resnet")
imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="videos need it")

ODD, NTSC, TONE = "65x49", "30000/1001", ("-f", "lavfi", "-i", "sine=440", "-shortest")
PATTERN = "geq=r='mod(97*N+2*X,256)':g='mod(53*N+2*Y,256)':b='0.8*mod(N,300)'"  # no frame is like the next


def ffmpeg(*arguments: object) -> str:
    """What ffmpeg prints."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def film(path: Path, *more: str, size: str = "64x48", rate: str = "25", frames: int = 30, sound: bool = False) -> Path:
    picture = (
        "-f",
        "lavfi",
        "-i",
        f"nullsrc=size={size}:rate={rate}:duration={float(frames / Fraction(rate))},{PATTERN}",
    )
    ffmpeg(*picture, *(TONE if sound else ()), "-frames:v", frames, "-g", 10, *more, path)
    return path


def frames_of(path: Path) -> tuple[np.ndarray, float]:
    """All frames (N,H,W,3) as the package itself reads them, and their rate."""
    reader = imageio_ffmpeg.read_frames(path)
    head = next(reader)
    width, height = head["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]), head["fps"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("video")
    write_snapshot(home / "net.pth", memory=True)
    return home


def line(home: Path, images: Path | str, out: Path, *more: str) -> list[str]:
    flags = ["--snapshot", home / "net.pth", "--device", "cpu", "--num_workers", "0", "--images", images, "--out", out]
    return [*map(str, flags), *more]


def tiny_predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(TinyNet(memory=False), device=torch.device("cpu"), inference=Inference())


@pytest.mark.parametrize("sound", [False, True])
def test_same_count_order_size_and_rate(sound: bool, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = film(tmp_path / "film.mkv", "-pix_fmt", "yuv444p", size=ODD, rate=NTSC, frames=300, sound=sound)
    predict = tiny_predictor()
    targets = {view: tmp_path / view / "film.mp4" for view in ("colours", "overlay", "side_by_side")}
    label_video(predict, videos.open_video(source), STANDARD, targets=targets)
    printed = capsys.readouterr()
    assert "broken" not in printed.err and re.search(r"film.mkv: 300 frames, \d+.\d per second", printed.out)
    (before, _), results = frames_of(source), {view: frames_of(file) for view, file in targets.items()}
    assert {rate for _, rate in results.values()} == {29.97} and videos.open_video(targets["overlay"]).rate == Fraction(
        30000, 1001
    )
    colours, overlay, both = (frames for frames, _ in results.values())
    assert colours.shape == overlay.shape == before.shape == (300, 49, 65, 3) and both.shape == (300, 49, 130, 3)
    for number in range(0, 300, 23):
        difference = np.abs(before.astype(np.int16) - both[number, :, :65]).mean((1, 2, 3))
        assert difference.argmin() == number and difference[number] < 5
        train_ids = predict(torch.from_numpy(before[number].copy()).permute(2, 0, 1), [], index=number).numpy()
        for shown in (colours[number], both[number, :, 65:]):
            assert np.abs(STANDARD.colourise(train_ids).astype(np.int16) - shown).mean() < 12
    streams = ffmpeg("-i", targets["overlay"], "-f", "null", "-")
    assert ("Audio: aac" in streams) == sound
    if sound:  # as long as the pictures, and not silent
        level = ffmpeg("-i", targets["overlay"], "-af", "volumedetect", "-f", "null", "-")
        assert float(re.search(r"mean_volume: ([-.\d]+)", level)[1]) > -40


def test_memory_does_not_grow(tmp_path: Path) -> None:
    source = film(tmp_path / "film.mp4", size="320x240", frames=300)  # 69 MB
    predict, used = tiny_predictor(), []

    def watch(*arguments: object, **options: object) -> torch.Tensor:
        used.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6)
        return predict(*arguments, **options)

    watch.inference = predict.inference
    label_video(watch, videos.open_video(source), STANDARD, targets={"overlay": tmp_path / "out.mp4"})
    assert len(used) == 300 and min(used[-20:]) - max(used[:50]) < 25


def test_a_folder_of_pictures_and_videos(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "mixed"
    (folder / "deep").mkdir(parents=True)
    for size in (40, 30), (53, 37):
        Image.new("RGB", size).save(folder / f"a{size[0]}.png")
    for name in ("a40.mp4", "deep/b.MOV", "deep/b.avi"):
        film(folder / name, frames=5)
    (folder / "c.mp4").write_text("no video")
    ffmpeg("-display_rotation", 90, "-i", folder / "a40.mp4", "-c", "copy", folder / "turned.mp4")
    for times in ("images: 2 labelled, 0", "videos: 4 labelled, 0"), ("images: 0 labelled, 2", "videos: 0 labelled, 4"):
        evaluation.main([*line(home, folder, tmp_path), "--entropy"])  # the results are below the folder
        printed = capsys.readouterr()
        assert all(f"{part} finished before, {k} unreadable" in printed.out for k, part in enumerate(times))
        assert "c.mp4: has no readable frame" in printed.err
        assert "--entropy: makes pictures of images only" in printed.err
    made = {path.relative_to(folder / "overlay").as_posix() for path in (folder / "overlay").rglob("*.*")}
    assert made == {"a40.png", "a53.png", "a40.mp4", "deep/b.MOV.mp4", "deep/b.avi.mp4", "turned.mp4"}
    assert frames_of(folder / "overlay" / "turned.mp4")[0].shape == (5, 64, 48, 3)


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Presses Ctrl-C while the network labels the frame with this number."""
    predict = Predictor.__call__

    def press(number: int, times: int = 1) -> None:
        calls = count()

        def call(*arguments: object, **options: object) -> torch.Tensor:
            for _ in range(times if next(calls) == number else 0):
                os.kill(os.getpid(), signal.SIGINT)
            return predict(*arguments, **options)

        monkeypatch.setattr(Predictor, "__call__", call)

    return press


def test_interrupted_and_continued(
    home: Path, signal_at: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for name in "abc":
        film(folder / f"{name}.mp4", frames=10, sound=True)
    argv, made = line(home, folder, tmp_path / "out"), tmp_path / "out" / "films" / "overlay"
    signal_at(13, times=2)  # the second one ends the program at once
    assert exit_code("eval.py", evaluation.main, argv) == 130
    assert [path.name for path in made.iterdir()] == ["a.mp4"]
    signal_at(3)
    assert exit_code("eval.py", evaluation.main, argv) == 130
    assert "\n4 frames labelled: " in capsys.readouterr().out
    assert {path.name for path in made.iterdir()} == {"a.mp4", "b.part.mp4"}
    assert len(frames_of(made / "b.part.mp4")[0]) == 4
    (made / f".{32 * 'a'}.partial").write_text("left by a killed process")
    assert exit_code("eval.py", evaluation.main, [*argv, "--limit", "6"]) == 0
    assert {path.name for path in made.iterdir()} == {"a.mp4", "b.part.mp4", "c.part.mp4"}
    assert exit_code("eval.py", evaluation.main, argv) == 0
    assert "videos: 2 labelled, 1 finished before" in capsys.readouterr().out
    assert {path.name: len(frames_of(path)[0]) for path in made.iterdir()} == {"a.mp4": 10, "b.mp4": 10, "c.mp4": 10}


def test_broken_frames(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    whole = film(tmp_path / "whole.mp4", "-bf", "0", "-movflags", "+faststart", "-g", "20", frames=60)
    ffmpeg("-i", whole, "-c", "copy", "-bsf:v", "noise=amount='if(eq(n,40),5,0)':dropamount=0", folder / "hurt.mp4")
    shutil.copy(whole, folder / "short.mp4")
    os.truncate(folder / "short.mp4", int(0.7 * whole.stat().st_size))
    assert exit_code("eval.py", evaluation.main, line(home, folder, tmp_path)) == 0
    printed = capsys.readouterr()
    assert "hurt.mp4: broken at frame 40 (" in printed.err and "; 60 frames could be read, of about 60" in printed.err
    broken, read = map(
        int, re.search(r"short.mp4: broken at frame (\d+) \(.*\); (\d+) frames could", printed.err).groups()
    )
    assert 20 < broken <= read < 60
    made = [len(frames_of(tmp_path / "films" / "overlay" / f"{name}.mp4")[0]) for name in ("hurt", "short")]
    assert made == [60, read]


def soundless(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=440:duration=1", path)


def frameless(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=duration=1", "-frames:v", "0", path)


def headless(path: Path) -> None:
    """As after a phone was switched off: an MP4 file without its end."""
    film(path)
    os.truncate(path, path.stat().st_size // 2)


def elsewhere(path: Path) -> None:
    """A play list that names a file of a network."""
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize(
    "write", [Path.touch, lambda path: path.write_text("x"), soundless, frameless, headless, elsewhere]
)
def test_no_videos(write: Callable, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path / "film.mp4")
    assert exit_code("eval.py", evaluation.main, line(home, tmp_path / "film.mp4", tmp_path / "out")) == 2
    printed = capsys.readouterr().err
    assert (
        re.search(r"film.mp4: has no readable frame \(.+\); fetch the file again", printed) and "Trace" not in printed
    )


def test_a_rate_that_varies_becomes_constant(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """As phones record: the sound stays with the pictures."""
    chosen = "select='lt(n,100)+not(mod(n,3))'"
    source = film(tmp_path / "film.mp4", "-vf", chosen, "-fps_mode", "vfr", rate="30", frames=300)
    video = videos.open_video(source)
    assert "its frame rate varies; the result has 30 frames per second" in capsys.readouterr().out
    assert video.rate == 30 and 290 < len(list(video.frames())) <= 300


@pytest.fixture
def fake_camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    source = ("-re", "-f", "lavfi", "-i", "testsrc=size=65x49:rate=20")
    monkeypatch.setattr(videos, "camera_source", lambda number: source)


@pytest.mark.usefixtures("fake_camera")
def test_ctrl_c_ends_the_video_of_a_camera(
    home: Path, signal_at: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    signal_at(24)
    assert exit_code("eval.py", evaluation.main, line(home, "0", tmp_path / "out")) == 0
    assert "camera 0: 65 x 49; Ctrl-C ends the video" in capsys.readouterr().out
    (made,) = (tmp_path / "out" / "camera0" / "overlay").iterdir()
    frames, rate = frames_of(made)
    assert re.fullmatch(r"\d{8}_\d{6}.mp4", made.name) and frames.shape[1:] == (49, 65, 3) and rate == 20
    assert 8 <= len(frames) <= 40  # as long as it took


def test_an_absent_camera(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert exit_code("eval.py", evaluation.main, line(home, "7", tmp_path)) == 2
    assert re.search(r"error: camera 7: has no readable frame \(.+\); connect it", capsys.readouterr().err)


def test_without_the_package(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    source = film(tmp_path / "film.mp4", frames=2)
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    assert exit_code("eval.py", evaluation.main, line(home, source, tmp_path)) == 2
    assert (
        "imageio_ffmpeg cannot be loaded" in (error := capsys.readouterr().err)
        and "pip install imageio-ffmpeg" in error
    )


def test_a_video_that_cannot_be_written(tmp_path: Path) -> None:
    video = videos.open_video(film(tmp_path / "film.mp4", frames=2))
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (
        pytest.raises(OSError, match="cannot be written"),
        videos.video_file(tmp_path / "out.mp4", video, size=video.size) as append,
    ):
        resource.prlimit(children()[-1], resource.RLIMIT_FSIZE, (50_000, limits[1]))
        for _ in range(2000):
            append(noise)
    assert {path.name for path in tmp_path.iterdir()} == {"film.mp4"}


def children() -> list[int]:
    return [int(number) for number in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def label_with_tiny_network(source: Path, target: Path, stop_at: int = -1) -> str:
    """What the interruption says, if the last process gets a signal at a frame."""
    predict = tiny_predictor()

    def call(*arguments: object, index: int) -> torch.Tensor:
        if index == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return predict(*arguments, index=index)

    call.inference = predict.inference
    try:
        label_video(call, videos.open_video(source), STANDARD, targets={"colours": target})
    except Interrupted as end:
        return str(end)
    return ""


def label_and_stop(source: Path, target: Path, cut: Path) -> list[str]:
    return [label_with_tiny_network(source, target), label_with_tiny_network(source, cut, 3)[:17]]


def test_processes_share_the_frames(tmp_path: Path) -> None:
    source, one, two, cut = (tmp_path / name for name in ("film.mp4", "one.mp4", "two.mp4", "cut.mp4"))
    film(source, frames=7, size=ODD)
    label_with_tiny_network(source, one)
    assert run_ranks(label_and_stop, 2, tmp_path, source, two, cut) == [["", "4 frames labelled"]] * 2
    np.testing.assert_array_equal(frames_of(one)[0], frames_of(two)[0])
    assert len(frames_of(tmp_path / "cut.part.mp4")[0]) == 4 and not cut.exists()
