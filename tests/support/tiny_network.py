"""A network of a few hundred parameters with the interface of the real ones."""

from typing import Any

import torch
from torch import Tensor, nn

from methods import METHODS
from methods.method import Method
from network.categorical_memory import CategoricalMemory
from network.deeplab import Encoding, SegOutput
from optimizer.schedules import OptimizerOptions
from support.methods import method_on

DIM, CLASSES = 8, 19


class TinyEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, DIM, 3, stride=4, padding=1, bias=False), nn.BatchNorm2d(DIM), nn.ReLU()
        )

    def forward(self, images: Tensor) -> Encoding:
        features = self.backbone(images)
        return Encoding(features, features, features)


class TinyNet(nn.Module):
    def __init__(self, memory: bool) -> None:
        super().__init__()
        self.encoder = TinyEncoder()
        self.memory = CategoricalMemory(CLASSES, dim=DIM) if memory else None
        self.classifier = nn.Conv2d(DIM, CLASSES, 1)

    def forward(self, images: Tensor, *, items: Tensor | None = None, gumbel: bool = False) -> SegOutput:
        features = self.encoder(images).features
        reading = None
        if self.memory is not None:
            reading = self.memory.read(features, self.memory.items if items is None else items, gumbel=gumbel)
        x = self.classifier(features if reading is None else reading.features)
        return SegOutput(x, images.shape[-2:], None, features, reading)


def tiny_method(name: str, *, device: str = "cpu", **options: Any) -> Method:
    torch.manual_seed(0)
    net = TinyNet(METHODS[name].memory).to(device).train()
    optimizer = OptimizerOptions(weight_decay=0, exponent=9, horizon=100)
    return method_on(net, name, optimizer=optimizer, **options)
