"""A trained network for other programs: pictures in, arrays out.

It imports all that it needs when it is loaded, nothing later: ``hubconf.py`` then takes our modules away.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from checkpoints.adoption import as_ours, classes_in
from checkpoints.run_files import load_weights, read_checkpoint
from datasets.decoding import ScaleError, as_rgb, read_image
from datasets.transforms import to_tensor
from engine.build import network_from
from engine.evaluating.prediction import Inference, Predictor, likeliest
from engine.machine import choose_device, precision_of
from network.archs import short_name
from utils.errors import UsageError, first_line

Picture = str | os.PathLike | Image.Image | np.ndarray


class Details(NamedTuple):
    """What ``Segmenter.details`` returns for an image of H x W pixels."""

    train_ids: np.ndarray  # H,W uint8
    probabilities: np.ndarray  # K,H,W float32
    memory: np.ndarray | None  # S,h,w float32


class Segmenter:
    """A trained network that labels images of any size, each whole and once, as ``eval.py --images`` does by default.

    An image is

    - a path (str or Path): read as ``eval.py --images`` reads it, turned as its camera says (EXIF);
    - a PIL image in any mode: alpha is dropped, grey becomes RGB, pixels are not turned;
    - a NumPy array, uint8 from 0 to 255: H,W,3 (RGB; OpenCV's are BGR), H,W,4 (RGBA) or H,W (grey);

    or a list or a tuple of those, whose sizes may differ; the result is then a list.

    Attributes: ``classes`` (K names), ``colours`` (K,3 uint8 RGB), ``device`` (torch.device), ``config`` (dict: the
    network's description) and ``net`` (the torch module in evaluation mode; it takes normalised images N,3,H,W).

    Methods: ``predict``, ``details``, ``colourise``.

    Errors are exceptions with one line: what is wrong with the checkpoint, the device or an image, and the remedy.
    """

    def __init__(self, snapshot: str | os.PathLike, *, device: str = "auto", **facts: Any) -> None:
        """Load ``snapshot``, a checkpoint or a folder of one, onto ``device``; ``facts`` as for ``hubconf.pinmem``."""
        path = Path(snapshot).expanduser()
        content = as_ours(read_checkpoint(path, "snapshot"), path, **facts)
        self.config, classes = content["network"], classes_in(content["network"])
        if classes is None:
            raise UsageError(
                f"snapshot {path}: does not name its {self.config['num_classes']} classes; name another checkpoint"
            )
        self._classes, self.classes = classes, classes.names
        self.colours = np.array(classes.colours, np.uint8)
        self.device = choose_device(str(device))
        net = network_from(self.config)
        load_weights(net, content["weights"], f"snapshot {path}")
        image_in, precision = bool(self.config.get("image_in")), precision_of("auto", self.device)
        where = {"device": self.device, "precision": precision}
        self._predictor = Predictor(net.to(self.device), inference=Inference(), image_in=image_in, **where)
        self.net = self._predictor.net

    def __repr__(self) -> str:
        memory = self.config["memory"]
        items = f"a memory of {memory['slots']} items" if memory else "no memory"
        return f"Segmenter({short_name(self.config['arch'])}, {len(self.classes)} classes, {items}, {self.device})"

    def predict(self, images: Picture | Sequence[Picture]) -> np.ndarray | list[np.ndarray]:
        """Return the train ids of an image, H,W uint8 in the size of the image; a list of them for several.

        They are those that ``eval.py --images`` writes for the same file, pixel by pixel.  An id is a place in
        ``classes`` and a row of ``colours``.
        """
        if isinstance(images, list | tuple):
            return [self.predict(image) for image in images]
        return self._predictor(to_tensor(rgb_of(images)), (), index=0).cpu().numpy()

    def details(self, images: Picture | Sequence[Picture]) -> Details | list[Details]:
        """Return all that the network says about an image of H x W pixels; a list of that for several images.

        It is a named tuple:

        - ``train_ids``: H,W uint8, as ``predict`` returns them;
        - ``probabilities``: K,H,W float32, of each of the K classes at each pixel; the sum over K is 1.  They take
          160 MB for an image of 2048 x 1024 pixels and 19 classes;
        - ``memory``: S,h,w float32, the share of each of the S items in what a pixel reads from the memory; the sum
          over S is 1.  Item k belongs to class k; items beyond the classes belong to none.  h and w are H and W divided
          by the output stride of the network (usually 16, see ``config``), rounded up.  None without a memory.
        """
        if isinstance(images, list | tuple):
            return [self.details(image) for image in images]
        out = self._predictor.output(to_tensor(rgb_of(images)), index=0)
        logits, reading = out.logits[0], out.reading
        weights = None if reading is None else reading.weights[0].float().cpu().numpy()
        return Details(likeliest(logits, dim=0).cpu().numpy(), logits.softmax(dim=0).cpu().numpy(), weights)

    def colourise(self, train_ids: np.ndarray) -> np.ndarray:
        """Return the colours of train ids, H,W -> H,W,3 uint8; black for ids of no class, such as 255."""
        return self._classes.colourise(train_ids)


def rgb_of(image: Picture) -> Image.Image:
    """Return a path, a PIL image or an array as an RGB image.  UsageError if it is none of them or cannot be read."""
    if isinstance(image, str | os.PathLike):
        return read_image(Path(image).expanduser(), upright=True)
    if isinstance(image, np.ndarray):
        fits = image.ndim in (2, 3) and image.shape[2:] in ((), (3,), (4,)) and image.size > 0
        if image.dtype != np.uint8 or not fits:
            raise UsageError(
                f"image: an array of {image.dtype} in the shape {image.shape}; give uint8 from 0 to 255 in the shape "
                "(H, W, 3), (H, W, 4) or (H, W)"
            )
        return Image.fromarray(np.ascontiguousarray(image)).convert("RGB")
    if not isinstance(image, Image.Image):
        raise UsageError(
            f"image: is {type(image).__name__}; give a path, a PIL image, a NumPy array, or a list of them"
        )
    try:
        return as_rgb(image)
    except (ScaleError, OSError, ValueError) as error:
        raise UsageError(f"image: {first_line(error)}; give one that Pillow can show, 8 bits per channel") from error
