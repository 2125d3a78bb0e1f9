"""What the tests of figures share: data, checkpoints, command lines and outputs of the network."""

from functools import cache
from pathlib import Path

import torch

import eval as evaluation
from checkpoints.run_files import load_checkpoint
from datasets.demo import STYLES, write_demo
from datasets.images import LabelledImages
from datasets.registry import spec
from datasets.transforms import normalise, to_tensor
from engine.build import network_from
from network.deeplab import DeepLab, SegOutput
from support.snapshots import write_snapshot

SIX = ("sidewalk", "building", "pole", "vegetation", "sky", "car")


def make_home(home: Path) -> Path:
    """Demo data of six domains and two checkpoints."""
    write_demo(home / "data", domains=list(STYLES), train=1, val=2, size=(64, 128), seed=1, workers=1)
    write_snapshot(home / "memory.pth", memory=True)
    write_snapshot(home / "plain.pth", memory=False)
    return home


def flags(home: Path, line: str) -> list[str]:
    common = f"--data_root {home / 'data'} --device cpu --num_workers 0 --mapillary_crop 0"
    return f"{common} --snapshot {home}/memory.pth {line}".split()


def draw(home: Path, line: str) -> None:
    evaluation.main(flags(home, line))


def pair(home: Path, domain: str, index: int) -> tuple[torch.Tensor, torch.Tensor, str]:
    image, labels, name = LabelledImages(spec(domain), home / "data", "val")[index]
    return to_tensor(image), torch.from_numpy(labels.copy()), name


@cache
def network(home: Path) -> DeepLab:
    content = load_checkpoint(home / "memory.pth")
    net = network_from(content["network"]).eval()
    net.load_state_dict(content["weights"])
    return net


@torch.no_grad()
def look(home: Path, image: torch.Tensor) -> SegOutput:
    return network(home)(normalise(image[None]))
