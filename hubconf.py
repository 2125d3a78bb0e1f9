"""The door for other programs: ``torch.hub.load(PATH, "pinmem", snapshot="RUN/last.pth", source="local")``."""

import contextlib
import os
import sys

dependencies = ["torch", "torchvision", "numpy", "PIL", "safetensors", "tqdm"]  # torch.hub names those that are absent

_HERE = os.path.dirname(os.path.abspath(__file__))
_PACKAGES = ("checkpoints", "datasets", "engine", "loss", "methods", "network", "optimizer", "utils")


def pinmem(snapshot, *, device="auto", output_stride=None, wt_layer=None, image_in=None):
    """Load a trained network; returns an ``engine.segmenter.Segmenter``, which labels images: ``net.predict(image)``.

    snapshot: a checkpoint of train.py (RUN/last.pth), a file of the authors' release, or a folder that
        ``python -m tools.convert RUN/last.pth FOLDER --to hub`` wrote
    device: "auto" (CUDA if there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps"
    output_stride: 8, 16 or 32 instead of the network's own
    wt_layer, image_in: facts that files of the release do not hold, as the flags of eval.py give them

    Errors are exceptions with one line that names the file or argument and the remedy.  The program may have packages
    called ``datasets`` or ``utils`` of its own: neither side sees those of the other.  So the result cannot be pickled;
    load it again in other processes.
    """
    with _own_packages():
        from engine.segmenter import Segmenter

        return Segmenter(snapshot, device=device, output_stride=output_stride, wt_layer=wt_layer, image_in=image_in)


@contextlib.contextmanager
def _own_packages():
    """Within this context names such as ``utils`` mean our packages, before and after it those of the program."""
    loaded = _loaded()
    files = {name: getattr(module, "__file__", None) or "" for name, module in loaded.items()}
    ours = {name for name, file in files.items() if file.startswith(_HERE + os.sep)}
    for name in loaded.keys() - ours:
        del sys.modules[name]
    sys.path.insert(0, _HERE)
    try:
        yield
    finally:
        sys.path.remove(_HERE)
        for name in _loaded().keys() - ours:
            del sys.modules[name]
        sys.modules.update(loaded)


def _loaded():
    """The loaded modules, ours or the program's, with names of our packages."""
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in _PACKAGES}
