"""A network of a few hundred parameters with the interface of the real ones."""

import torch
from torch import Tensor, nn

from methods import Aggregate, choose_method
from network.categorical_memory import CategoricalMemory
from network.deeplab import Encoding, SegOutput
from optimizer.sgd import build_optimizer

DIM, CLASSES = 8, 19


class TinyEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, DIM, 3, stride=4, padding=1, bias=False), nn.BatchNorm2d(DIM), nn.ReLU()
        )

    def forward(self, images: Tensor) -> Encoding:
        features = self.layers(images)
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


def tiny_method(*, mldg: bool, memory: bool, device: str = "cpu", **options) -> Aggregate:
    torch.manual_seed(0)
    net = TinyNet(memory).to(device).train()
    sgd, schedule = build_optimizer(net, lr=0.01, momentum=0.9, weight_decay=0, schedule="exp", exponent=9, horizon=100)
    return choose_method(mldg=mldg, memory=memory)(net, sgd, schedule, **options)
