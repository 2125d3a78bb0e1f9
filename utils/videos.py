"""Videos and cameras as frames, and frames as videos, by the program ffmpeg that the package imageio-ffmpeg carries.

The program runs beside ours and passes pixels through pipes, so memory does not grow with the length of a video.
"""

import errno
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from utils.errors import UsageError
from utils.files import whole_file
from utils.log import counted, log
from utils.packages import need

APART = {"stdin": subprocess.DEVNULL, "start_new_session": True}  # Ctrl-C reaches our program only
CONSTANT = ("-fps_mode", "cfr")  # frames are repeated or dropped where the rate varies: pictures stay with the sound
# The colours of labels stay as they are in all players: the file says by which formula they were stored.
COLOURS = "scale=out_color_matrix=bt709:out_range=tv,setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
# Silence after the end of a shorter sound; the sound ends with the pictures.  A broken sound does not stop the video.
SOUND = "-map 0:v -map 1:a:0? -c:a aac -af apad -shortest -max_error_rate 1"
LEVEL = ("-hide_banner", "-loglevel")
FAULT = re.compile(r"\[(?:error|fatal)\] (.*)|\[warning\] .*(partial file|corrupt[a-z ]*)")  # in what ffmpeg prints


@dataclass(frozen=True)
class Video:
    """A video file or a camera."""

    name: str  # in messages
    source: tuple[str, ...]  # how ffmpeg opens it
    remedy: str  # if it cannot be read
    live: bool = False  # a camera
    size: tuple[int, int] = (0, 0)  # width and height, turned as the camera says
    rate: Fraction = Fraction(25)  # frames per second
    length: int = 0  # about the number of frames; 0 if unknown

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame (H,W,3 uint8, RGB).  A camera passes over those that come while the caller is busy.

        Warns at the end if the source is broken; what ffmpeg can read is used.  UsageError if there is no frame.
        """
        (width, height), number = self.size, 0
        command = self.reading(*LEVEL, "level+warning", output=("-pix_fmt", "rgb24", "-f", "rawvideo"))
        with TemporaryFile() as words, subprocess.Popen(command, stdout=-1, stderr=words, **APART) as process:
            try:
                while len(pixels := process.stdout.read(3 * width * height)) == 3 * width * height:
                    yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
                    number += 1
                process.wait()
            finally:
                process.kill()  # if the caller needs no more frames
            words.seek(0)
            fault = first_fault(words)
        if process.returncode < 0:  # for want of memory
            raise OSError(errno.EIO, "ffmpeg was killed", self.name)
        if number == 0:
            raise UsageError(f"{self.name}: has no readable frame ({fault}); {self.remedy}")
        whole = number if self.live or not fault else self.whole_frames()
        if fault and (self.live or whole < number or number < self.length - 2):
            used = f"{counted(number, 'frame')} could be read" + (f", of about {self.length}" if self.length else "")
            log.warning(f"{self.name}: broken at frame {whole} ({fault}); {used}; {self.remedy}")

    def whole_frames(self) -> int:
        """The number of frames before the first broken one: ffmpeg reads again and stops there."""
        command = self.reading("-v", "quiet", "-xerror", "-threads", "1", output=("-f", "framecrc"))
        with subprocess.Popen(command, stdout=-1, **APART) as process:
            return sum(line.startswith(b"0,") for line in process.stdout)

    def reading(self, *flags: str, output: Sequence[str]) -> list[str]:
        timing = ("-fps_mode", "passthrough") if self.live else (*CONSTANT, "-r", str(self.rate))
        return [ffmpeg(), *flags, *self.source, "-map", "0:V:0", *timing, *output, "-"]


def first_fault(words: Iterable[bytes]) -> str:
    """The first fault that ffmpeg reports in its lines; '' if there is none."""
    found = (FAULT.search(line.decode(errors="replace")) for line in words)
    return next((match[1] or match[2] for match in found if match), "")


def ffmpeg() -> str:
    """The path of the program ffmpeg; UsageError without it."""
    remedy = "install it with `pip install imageio-ffmpeg`"
    try:
        return need("imageio_ffmpeg", "--images with a video or a camera", remedy=remedy).get_ffmpeg_exe()
    except RuntimeError as error:
        raise UsageError("the package imageio-ffmpeg has no ffmpeg here; set IMAGEIO_FFMPEG_EXE to one") from error


def open_video(file: Path) -> Video:
    """The video in a file; nothing is fetched from a network.  UsageError if it has no readable frame."""
    source = ("-protocol_whitelist", "file,pipe", "-i", f"file:{file}")
    return examined(Video(str(file), source, "fetch the file again or take it away"))


def open_camera(number: int) -> Video:
    """A camera of this machine; UsageError if it gives no picture."""
    remedy = "connect it, end other programs that use it, and allow this account to read it"
    return examined(Video(f"camera {number}", camera_source(number), remedy, live=True))


def camera_source(number: int) -> tuple[str, ...]:
    if sys.platform == "darwin":
        return "-f", "avfoundation", "-framerate", "30", "-i", str(number)
    return "-f", "v4l2", "-i", f"/dev/video{number}"


def examined(video: Video) -> Video:
    """The video with its size, rate and length, which ffmpeg prints with its first frame."""
    flags = (*LEVEL, "level+info", *video.source, "-map", "0:V:0", "-frames:v", "1", *CONSTANT, "-f", "framecrc", "-")
    done = subprocess.run([ffmpeg(), *flags], capture_output=True, **APART)
    head, words = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    frame = re.search(r"#tb 0: (\d+)/(\d+)(?s:.*)#dimensions 0: (\d+)x(\d+)(?s:.*)^0,", head, re.M)
    if not frame:
        fault = first_fault(done.stderr.splitlines()) or "empty"
        raise UsageError(f"{video.name}: has no readable frame ({fault}); {video.remedy}")
    per_frame, second, width, height = map(int, frame.groups())
    rate, mean = Fraction(second, per_frame), re.search(r"Video: .*?([\d.]+) fps", words)
    if mean and not video.live and abs(float(mean[1]) / rate - 1) > 0.005:
        if rate > 1.9 * float(mean[1]):  # it counts half frames, or the finest step between two frames
            rate = Fraction(mean[1])
        log.info(f"note: {video.name}: its frame rate varies; the result has {float(rate):.4g} frames per second")
    time = re.search(r"Duration: (\d+):(\d+):([\d.]+)", words)
    seconds = 3600 * int(time[1]) + 60 * int(time[2]) + float(time[3]) if time else 0
    return replace(video, size=(width, height), rate=rate, length=round(seconds * rate))


@contextmanager
def video_file(path: Path, video: Video, *, size: tuple[int, int]) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends a frame (H,W,3 uint8) to a new MP4 file; the file is written whole or not at all.

    The file has the rate and the sound of ``video``, and frames of ``size`` (width, height).  A frame of a camera is
    shown until the next one comes.  OSError if the file cannot be written.
    """
    raw = f"-f rawvideo -pix_fmt rgb24 -video_size {size[0]}x{size[1]} -framerate {video.rate} -i -".split()
    source = ["-use_wallclock_as_timestamps", "1", *raw] if video.live else raw
    more = [*CONSTANT, "-r", str(video.rate)] if video.live else [*video.source, *SOUND.split()]
    colours = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"  # H.264 halves the colours of even sizes only
    codec = f"-vf {COLOURS} -c:v libx264 -preset veryfast -crf 18 -pix_fmt {colours} -f mp4".split()
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, TemporaryFile() as words:
        command = [ffmpeg(), *LEVEL, "level+error", *source, *more, *codec, str(partial)]
        process = subprocess.Popen(command, stderr=words, **{**APART, "stdin": subprocess.PIPE})

        def append(frame: np.ndarray) -> None:
            try:
                process.stdin.write(frame)
            except BrokenPipeError:
                finish()

        def finish() -> None:
            process.communicate()
            if process.returncode:
                words.seek(0)
                raise OSError(errno.EIO, f"cannot be written ({first_fault(words) or 'ffmpeg was killed'})", str(path))

        try:
            yield append
            finish()
        finally:
            process.kill()
            process.wait()
