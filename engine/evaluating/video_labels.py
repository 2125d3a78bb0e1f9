"""Labelling videos frame by frame.  Several processes label different frames of the same video."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.labels import ClassSet
from datasets.transforms import to_tensor
from engine.evaluating.prediction import Predictor
from engine.options.evaluation_options import SubjectOptions
from engine.training.interruption import Interruption
from utils.distributed import all_gathered, any_rank, from_first
from utils.errors import Interrupted, UsageError
from utils.log import counted, log
from utils.pictures import overlay
from utils.processes import rank, world_size
from utils.videos import Video, open_video, video_file


def label_videos(
    predict: Predictor, subject: SubjectOptions, classes: ClassSet, *, videos: Mapping[Path, str], folder: Path
) -> int:
    """Label each video that is not finished into ``folder``; return how many could not be read.

    A result is ``folder``/VIEW/NAME.mp4 with a name of ``videos``.  Raises Interrupted after Ctrl-C.
    """
    done = before = broken = 0
    for path, name in videos.items():
        targets = {view: folder / view / f"{name}.mp4" for view in subject.video_as}
        if from_first(all(file.exists() for file in targets.values())):
            before += 1
            continue
        try:
            label_video(predict, open_video(path), classes, targets=targets, limit=subject.limit)
            done += 1
        except UsageError as error:
            log.warning(f"skipped: {error}")
            broken += 1
    if videos:
        log.info(f"videos: {done} labelled, {before} finished before, {broken} unreadable")
    return broken


def label_video(
    predict: Predictor, video: Video, classes: ClassSet, *, targets: Mapping[str, Path], limit: int = 0
) -> None:
    """Label a video or a camera into a file for each view of ``targets``, at most ``limit`` frames if above 0.

    After Ctrl-C, or at the limit, the labelled part of a file is NAME.part.mp4, and NAME.mp4 is still to be made;
    Ctrl-C then raises Interrupted.  With a camera this is the normal end.
    """
    parts = {view: file.with_suffix(".part.mp4") for view, file in targets.items()}
    with Interruption() as interruption:
        count = label_frames(predict, video, classes, parts=parts, limit=limit, interruption=interruption)
        stopped = any_rank(interruption.number > 0)
    whole = video.live or not (stopped or count == limit)
    if whole and rank() == 0:
        for view, part in parts.items():
            os.replace(part, targets[view])
    if stopped and not whole:
        files = ", ".join(map(str, parts.values()))
        raise Interrupted(
            f"{counted(count, 'frame')} labelled: {files}; the same command starts anew", interruption.number
        )


def label_frames(
    predict: Predictor,
    video: Video,
    classes: ClassSet,
    *,
    parts: Mapping[str, Path],
    limit: int,
    interruption: Interruption,
) -> int:
    """Write the labelled frames into ``parts``, by view, until the end, the limit or a signal; return their number."""
    frames = islice(video.frames(), limit or None)
    total = min(video.length, limit or video.length) or None
    began, count = perf_counter(), 0
    with ExitStack() as stack:
        appends = {}
        for view, path in parts.items() if rank() == 0 else ():
            size = (video.size[0] * (1 + (view == "side_by_side")), video.size[1])
            appends[view] = stack.enter_context(video_file(path, video, size=size))
        name = Path(video.name).name
        progress = stack.enter_context(tqdm(total=total, desc=name, unit="frame", leave=False, disable=rank() > 0))
        while group := list(islice(frames, world_size())):
            own = min(rank(), len(group) - 1)  # at the end, processes without a frame repeat the last one
            image = Image.fromarray(group[own])
            prediction = predict(to_tensor(image), predict.inference.pyramid(image), index=count + own)
            for frame, train_ids in zip(group, all_gathered(prediction).cpu().numpy(), strict=False):
                colours = classes.colourise(train_ids)
                for view, append in appends.items():
                    append(picture(view, frame, colours))
            count += len(group)
            progress.update(len(group))
            if any_rank(interruption.number > 0):
                break
        log.info(f"{video.name}: {counted(count, 'frame')}, {count / (perf_counter() - began):.1f} per second")
    return count


def picture(view: str, frame: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """What a video of this view shows for a frame and the colours of its classes, all H,W,3 uint8."""
    if view == "side_by_side":
        return np.hstack([frame, colours])
    return colours if view == "colours" else overlay(frame, colours)
