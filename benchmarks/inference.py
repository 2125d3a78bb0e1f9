"""What the labelling of an image costs, compared with the network alone.

The floor alternates with it in one process: the network on the same windows or views, in the same groups.  The rest is
cutting, summing, resizing, mirroring, the choice of classes, and the confusion matrix.
"""

from dataclasses import dataclass
from functools import cached_property
from unittest.mock import patch

import torch
from PIL import Image

from benchmarks.frame import Case, Options, run_benchmark
from datasets.transforms import to_tensor
from engine.build import network_from
from engine.evaluating.prediction import Inference, Predictor
from engine.machine import choose_precision, keep_memory
from utils.metrics import ConfusionMatrix
from utils.options import option

SIZE = 2048, 1024
WAYS = {
    "sliding": Inference("sliding", flip=True),
    "sliding, 3 scales": Inference("sliding", (0.5, 0.75, 1.0), flip=True),
    "pooling": Inference("pooling", flip=True),
    "pooling, 3 scales": Inference("pooling", (0.5, 0.75, 1.0), flip=True),
}


@dataclass(frozen=True)
class InferenceOptions(Options):
    cases: tuple[str, ...] = option(tuple(WAYS), "which ones", flag="ways", nargs="+", choices=tuple(WAYS))
    arch: str = option("DeepR50V3PlusD", "the network, as in train.py")


class Labelling(Case):
    """A network that labels a random image in one way."""

    unit = "s/image"

    def __init__(self, name: str, options: InferenceOptions) -> None:
        super().__init__(name, options)
        keep_memory(self.device)
        net = network_from({"arch": options.arch, "num_classes": 19, "memory": None}).to(self.device)
        # Logits as large as those of a trained network.  With random weights they differ by hundreds, so probabilities
        # are so near to zero that processors are slow with them.
        net.classifier.weight.data *= 0.1
        inference, precision = WAYS[name], choose_precision(options.amp, self.device)
        self.predict = Predictor(net, device=self.device, inference=inference, precision=precision)
        image = Image.effect_noise(SIZE, 60).convert("RGB")
        self.image, self.views = to_tensor(image), inference.pyramid(image)
        self.labels = torch.randint(0, 19, self.image.shape[-2:], dtype=torch.uint8)
        self.matrix = ConfusionMatrix(19, self.device)

    def work(self) -> None:
        prediction = self.predict(self.image, self.views, index=0)
        self.matrix.update(self.labels.to(self.device, non_blocking=True), prediction)

    @cached_property
    def passes(self) -> list[torch.Tensor]:
        """The images that the network sees at once."""
        with patch.object(self.predict, "logits", wraps=self.predict.logits) as logits:
            self.work()
        return [call.args[0] for call in logits.call_args_list]

    @torch.no_grad()
    def floor(self) -> None:
        for images in self.passes:
            self.predict.logits(images)


if __name__ == "__main__":
    run_benchmark("inference", __doc__, InferenceOptions, Labelling)
