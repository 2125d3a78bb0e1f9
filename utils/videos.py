"""Videos and cameras as frames, and frames as videos, by the program ffmpeg that the package imageio-ffmpeg carries.

The program runs beside ours and passes pixels through pipes, so memory does not grow with the length of a video.
"""

import errno
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from utils.errors import UsageError
from utils.files import whole_file
from utils.log import log
from utils.packages import need

APART = {"stdin": subprocess.DEVNULL, "start_new_session": True}  # Ctrl-C reaches our program only
CONSTANT = ("-fps_mode", "cfr")  # frames are repeated or dropped where the rate varies: pictures stay with the sound
# The colours of labels stay as they are in all players: the file says by which formula they were stored.
COLOURS = "scale=out_color_matrix=bt709:out_range=tv,setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
# Silence after the end of a shorter sound; the sound ends with the pictures.  A broken sound does not stop the video.
SOUND = "-map 0:v -map 1:a:0? -c:a aac -af apad -shortest -max_error_rate 1"


@dataclass(frozen=True)
class Video:
    """A video file or a camera."""

    name: str  # in messages
    source: tuple[str, ...]  # how ffmpeg opens it
    size: tuple[int, int]  # width and height, turned as the camera says
    rate: Fraction  # frames per second
    length: int = 0  # about the number of frames; 0 if unknown
    file: Path | None = None  # None for a camera

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame (H,W,3 uint8, RGB).  A camera passes over those that come while the caller is busy.

        Warns at the end if the source is broken; what ffmpeg can read is used.  UsageError if there is no frame.
        """
        (width, height), number = self.size, 0
        command = self.reading("-v", "error", output=("-pix_fmt", "rgb24", "-f", "rawvideo"))
        with TemporaryFile() as errors, subprocess.Popen(command, stdout=-1, stderr=errors, **APART) as process:
            try:
                while len(pixels := process.stdout.read(3 * width * height)) == 3 * width * height:
                    yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
                    number += 1
                process.wait()
            finally:
                process.kill()  # if the caller needs no more frames
            message = first_message(errors) or ("it ends early" if number < 0.95 * self.length - 2 else "")
        if process.returncode < 0:  # for want of memory
            raise OSError(errno.EIO, "ffmpeg was killed", self.name)
        if number == 0:
            raise UsageError(f"{self.name}: has no readable frame ({message}); {remedy_for(self.file)}")
        if message:
            place = self.first_fault() if self.file else number
            used = f"{number} frames could be read" + (f", of about {self.length}" if self.length else "")
            log.warning(f"{self.name}: broken at frame {place} ({message}); {used}; {remedy_for(self.file)}")

    def first_fault(self) -> int:
        """The number of the first broken frame, from 0: ffmpeg reads again and stops there."""
        command = self.reading("-v", "quiet", "-xerror", "-threads", "1", output=("-f", "framecrc"))
        with subprocess.Popen(command, stdout=-1, **APART) as process:
            return sum(line.startswith(b"0,") for line in process.stdout)

    def reading(self, *flags: str, output: Sequence[str]) -> list[str]:
        timing = (*CONSTANT, "-r", str(self.rate)) if self.file else ("-fps_mode", "passthrough")
        return [ffmpeg(), *flags, *self.source, "-map", "0:V:0", *timing, *output, "-"]


def remedy_for(file: Path | None) -> str:
    if file is None:
        return "connect it, end other programs that use it, and allow this account to read it"
    return "fetch the file again or take it away"


def ffmpeg() -> str:
    """The path of the program ffmpeg; UsageError without it."""
    remedy = "install it with `pip install imageio-ffmpeg`"
    try:
        return need("imageio_ffmpeg", "--images with a video or a camera", remedy=remedy).get_ffmpeg_exe()
    except RuntimeError as error:
        raise UsageError("the package imageio-ffmpeg has no ffmpeg here; set IMAGEIO_FFMPEG_EXE to one") from error


def open_video(file: Path) -> Video:
    """The video in a file; nothing is fetched from a network.  UsageError if it has no readable frame."""
    return examine(str(file), ("-protocol_whitelist", "file,pipe", "-i", f"file:{file}"), file)


def open_camera(number: int) -> Video:
    """A camera of this machine; UsageError if it gives no picture."""
    return examine(f"camera {number}", camera_source(number), None)


def camera_source(number: int) -> tuple[str, ...]:
    if sys.platform == "darwin":
        return "-f", "avfoundation", "-framerate", "30", "-i", str(number)
    return "-f", "v4l2", "-i", f"/dev/video{number}"


def examine(name: str, source: Sequence[str], file: Path | None) -> Video:
    """Size, rate and length of a source, from ffmpeg's words on its first frame."""
    flags = ["-hide_banner", "-loglevel", "level+info", *source, "-map", "0:V:0", "-frames:v", "1"]
    command = [ffmpeg(), *flags, *CONSTANT, "-f", "framecrc", "-"]
    done = subprocess.run(command, capture_output=True, **APART)
    head, words = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    size, rate = re.search(r"#dimensions 0: (\d+)x(\d+)", head), re.search(r"#tb 0: (\d+)/(\d+)", head)
    if not (size and rate and re.search(r"^0,", head, re.M)):
        fault = re.search(r"\[(?:error|fatal)\] (.*)", words)
        raise UsageError(f"{name}: has no readable frame ({fault[1] if fault else 'empty'}); {remedy_for(file)}")
    rate = Fraction(int(rate[2]), int(rate[1]))
    mean = re.search(r"Video: .*?([\d.]+) fps", words)
    if file and mean and abs(float(mean[1]) / rate - 1) > 0.005:
        if rate > 2 * float(mean[1]):  # the finest step between two frames, which may be a microsecond
            rate = Fraction(mean[1])
        log.info(f"note: {name}: its frame rate varies; the result has {float(rate):.4g} frames per second throughout")
    hours = re.search(r"Duration: (\d+):(\d+):([\d.]+)", words)
    seconds = 3600 * int(hours[1]) + 60 * int(hours[2]) + float(hours[3]) if hours else 0
    return Video(name, tuple(source), (int(size[1]), int(size[2])), rate, round(seconds * rate), file)


def first_message(errors: IO[bytes]) -> str:
    """The first line that ffmpeg wrote into a file, without the part of ffmpeg that wrote it; '' if there is none."""
    errors.seek(0)
    return re.sub(r"^(\[[^]]*\] )+", "", errors.readline().decode(errors="replace").strip())


@contextmanager
def video_file(path: Path, video: Video, *, size: tuple[int, int]) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends a frame (H,W,3 uint8) to a new MP4 file; the file is written whole or not at all.

    The file has the rate and the sound of ``video``, and frames of ``size`` (width, height).  A frame of a camera is
    shown until the next one comes.  OSError if the file cannot be written.
    """
    raw = f"-f rawvideo -pix_fmt rgb24 -video_size {size[0]}x{size[1]} -framerate {video.rate}".split()
    source = [*raw, "-i", "-"] if video.file else ["-use_wallclock_as_timestamps", "1", *raw, "-i", "-"]
    sound = [*video.source, *SOUND.split()] if video.file else [*CONSTANT, "-r", str(video.rate)]
    odd = size[0] % 2 or size[1] % 2  # H.264 with halved colours has even sizes only
    codec = [
        "-vf",
        COLOURS,
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        "18",
        "-pix_fmt",
        "yuv444p" if odd else "yuv420p",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, TemporaryFile() as errors:
        command = [ffmpeg(), "-v", "error", *source, *sound, *codec, "-f", "mp4", str(partial)]
        process = subprocess.Popen(command, stderr=errors, **{**APART, "stdin": subprocess.PIPE})

        def append(frame: np.ndarray) -> None:
            try:
                process.stdin.write(frame)
            except BrokenPipeError:
                finish()

        def finish() -> None:
            process.communicate()
            if process.returncode:
                raise OSError(
                    errno.EIO, f"cannot be written ({first_message(errors) or 'ffmpeg was killed'})", str(path)
                )

        try:
            yield append
            finish()
        finally:
            process.kill()
            process.wait()
