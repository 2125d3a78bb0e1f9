"""Networks for programs without our code: ONNX files and programs of torch.export, compared with the network."""

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from checkpoints.adoption import classes_in
from checkpoints.run_files import load_weights, weights_hash
from datasets.transforms import IMAGENET_MEAN, IMAGENET_STD, normalise
from engine.build import network_from
from engine.run_log import code_version
from network.archs import short_name
from network.deeplab import DeepLab
from utils.errors import UsageError, first_line
from utils.files import whole_file
from utils.log import log

INPUT, OUTPUTS, AXES = "images", ("logits", "classes"), ("batch", "height", "width")
CHECKED = ((1, 128, 192), (2, 97, 161), (3, 71, 45))  # N,H,W of the images of the comparison
MOST_DIFFERENCE, LEAST_EQUAL = 1e-4, 0.999  # of logits, as a share of their range; of pixels
Run = Callable[[Tensor], Sequence[Tensor]]  # images to logits and classes


class Segmenter(nn.Module):
    """Maps RGB images (N,3,H,W uint8) to logits (N,K,H,W) and the likeliest classes (N,H,W uint8)."""

    def __init__(self, net: DeepLab, *, image_in: bool) -> None:
        super().__init__()
        self.net, self.image_in = net, image_in
        for name, values in (("mean", IMAGENET_MEAN), ("deviation", IMAGENET_STD)):
            self.register_buffer(name, 255 * torch.tensor(values).view(3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes what ``normalise`` computes, without its cache: the tensors of a trace must not get there."""
        single = images.float()
        x = F.instance_norm(single / 255) if self.image_in else (single - self.mean) / self.deviation
        logits = self.net(x).logits
        return logits, logits.argmax(1).to(torch.uint8)


def export(content: Mapping[str, Any], source: Path, *, onnx: Path | None, program: Path | None) -> None:
    """Write the network of a checkpoint into the files and compare them with it.

    UsageError if torch cannot export it, or if a file computes something else; such a file stays.
    """
    config = content["network"]
    net = network_from(config).eval().requires_grad_(False)
    load_weights(net, content["weights"], f"CKPT {source}")
    image_in = bool(config.get("image_in"))
    facts = metadata(content)
    if "classes" not in facts:
        log.info(f"note: CKPT {source}: the names of its {config['num_classes']} classes are not known")
    shapes = (dict.fromkeys((0, 2, 3), Dim.DYNAMIC),)
    segmenter = Segmenter(net, image_in=image_in).eval()
    with errors_of_export(config["arch"]):
        traced = torch.export.export(segmenter, (pictures(2, 97, 131),), dynamic_shapes=shapes, strict=False)
    runs: dict[Path, Run] = {}
    for path, write in ((program, write_program), (onnx, write_onnx)):
        if path:
            with errors_of_export(config["arch"]):
                runs[path] = write(traced, path, facts)
            log.info(f"written to {path}")

    compare(runs, lambda images: net(normalise(images, image_in=image_in)).logits)


@contextmanager
def errors_of_export(arch: str) -> Iterator[None]:
    """Within this context torch is silent, and its errors, which have many types, become a UsageError."""
    logging.disable(logging.WARNING)  # ours speaks before and after
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError:
        raise
    except Exception as error:
        causes = re.findall(r"^<class '.*?'>: (.*)", str(error), re.M)  # what torch.onnx sums up
        cause = causes[0] if causes else first_line(error)
        raise UsageError(
            f"{short_name(arch)}: torch {torch.__version__} cannot export it ({cause}); see docs/export.md"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def write_program(traced: ExportedProgram, path: Path, facts: Mapping[str, str]) -> Run:
    """Write a file of ``torch.export`` and return what it computes."""
    buffer = BytesIO()  # torch itself would crash on a full disk
    torch.export.save(traced, buffer, extra_files={"metadata.json": json.dumps(facts, indent=1)})
    with whole_file(path) as partial:
        partial.write_bytes(buffer.getbuffer())
    return torch.export.load(path).module()


def write_onnx(traced: ExportedProgram, path: Path, facts: Mapping[str, str]) -> Run:
    """Write an ONNX file and return what it computes."""
    import onnxruntime

    axes = dict(zip((0, 2, 3), AXES, strict=True))
    names = {"input_names": [INPUT], "output_names": OUTPUTS, "dynamic_shapes": (axes,)}
    made = torch.onnx.export(traced, dynamo=True, verbose=False, **names)
    made.model.metadata_props.update(facts)
    with whole_file(path) as partial:
        made.save(partial)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: [torch.from_numpy(x) for x in session.run(OUTPUTS, {INPUT: images.numpy()})]


def metadata(content: Mapping[str, Any]) -> dict[str, str]:
    """Return what a user of the file must know, as texts; ``network`` and ``classes`` are JSON."""
    config, classes = content["network"], classes_in(content["network"])
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    version = re.search('^version = "(.+)"', project, re.M)[1]
    facts = {
        "project": f"Pin the Memory {version} ({code_version()})",
        "arch": short_name(config["arch"]),
        "network": json.dumps({key: value for key, value in config.items() if key != "classes"}),
        "weights": weights_hash(content["weights"]),
        "iteration": content["iteration"],
        "trained_on": ", ".join(content["flags"].get("dataset") or ()),
        "input": f"{INPUT}: RGB N,3,H,W uint8; the network normalises them",
        "output": "logits N,K,H,W; classes N,H,W: the train id of the largest logit",
    }
    if classes:
        rows = [{"train_id": i, "name": classes.names[i], "colour": classes.colours[i]} for i in range(len(classes))]
        facts["classes"] = json.dumps(rows)
    return {key: str(value) for key, value in facts.items() if value not in (None, "")}


def pictures(number: int, height: int, width: int) -> Tensor:
    """Return images (N,3,H,W uint8) of coloured squares, the same in each call."""
    colours = torch.randint(256, (number, 3, 12, 12), generator=torch.Generator().manual_seed(0))
    return F.interpolate(colours.float(), (height, width)).to(torch.uint8)


@torch.no_grad()
def compare(runs: Mapping[Path, Run], network: Callable[[Tensor], Tensor]) -> None:
    """Print how far the answers of each file are from the logits of ``network``; UsageError if one is too far."""
    wrong: list[str] = []
    log.info("images (N,H,W)   largest difference of logits / range   equal pixels   file")
    for path, run in runs.items():
        for size in CHECKED:
            images = pictures(*size)
            (logits, classes), expected = run(images), network(images)
            difference = ((logits - expected).abs().max() / (expected.max() - expected.min())).item()
            equal = (classes == expected.argmax(1)).float().mean().item()
            log.info(f"{','.join(map(str, size)):14}   {difference:36.1e}   {equal:11.3%}    {path}")
            right = difference <= MOST_DIFFERENCE and equal >= LEAST_EQUAL  # not if one is NaN
            wrong += [] if right or str(path) in wrong else [str(path)]
    if wrong:
        raise UsageError(
            f"{' and '.join(wrong)}: computes something else than the network, see the table; the file stays, but "
            "export again with another version of torch before you use it"
        )
