"""Does a device compute what the CPU does?  ``python -m benchmarks.gpu_checks gradients|runs``, for ``on_gpu.sh``.

``gradients`` compares the gradient of a network with memory with the CPU's in float64.  ``runs`` trains on demo data,
goes on with the run on the CPU and back on the device, and labels images in three modes on both.
"""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from benchmarks.frame import table
from datasets.demo import write_demo
from datasets.sampling.loaders import Batch
from engine.build import network_from
from engine.evaluating.assessment import evaluate
from engine.machine import autocast, choose_device, choose_precision
from engine.options.evaluation_options import parse_evaluation
from engine.options.parser import Parser
from engine.options.training_command import parse_training
from engine.training.run import train
from methods import METHODS
from network.deeplab import DeepLab
from optimizer.optimizers import build_optimizer
from optimizer.schedules import OptimizerOptions
from utils.errors import UsageError
from utils.program import run_program

SLACK = 10  # an error of float32 may be this many times as large as on the CPU
EQUAL_PIXELS = 0.998  # share of pixels that get the same class on both; classes can be nearly equally likely
DRIFT = 0.5  # of the losses: drop-out draws other numbers on another device
TRAINING = (
    "--dataset gtav synthia --val_dataset idd --mldg --memory --gumbel_off --pretrained_backbone none --amp off "
    "--bs_mult 2 --mem_init_batches 2 --val_images 2 --num_workers 2 --log_interval 1 --keep 1 --exp run"
)
MODES = ("whole", "sliding", "pooling")


def gradients(arch: str, crop: int, device: torch.device) -> None:
    """Print the relative error of each part's gradient; UsageError if the device's float32 is far off.

    Random weights amplify rounding from block to block, and a look-ahead amplifies it again: with a ResNet-50, float32
    and float64 disagree about the whole gradient of a PinMem step.  So residual branches count a fifth here, and no
    step looks ahead.
    """
    torch.manual_seed(0)
    net = network_from({"arch": arch, "num_classes": 19, "memory": {"slots": 19}})
    for module in net.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
        elif isinstance(module, BasicBlock | Bottleneck):
            last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
            nn.init.constant_(last.weight, 0.2)
    cpu = torch.device("cpu")
    exact = gradient(net, crop, cpu, "off", torch.float64)
    cases = {"cpu, float32": (cpu, "off"), "float32": (device, "off")}
    if device.type == "cuda":
        cases |= {"TF32": (device, "tf32"), "bf16": (device, "bf16")}
    rows = {}
    for name, (where, amp) in cases.items():
        ours = gradient(net, crop, where, amp, torch.float32)
        rows[name] = {part: float((ours[part] - exact[part]).norm() / exact[part].norm()) for part in exact}
    print(table(rows))
    for part, error in rows["float32"].items():
        if not error <= SLACK * rows["cpu, float32"][part] + 1e-5:
            raise UsageError(f"gradient of {part}: relative error {error:.1e} in float32 on {device}")


def gradient(net: DeepLab, crop: int, device: torch.device, amp: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """The gradient by part of the network, flat and in float64 on the CPU."""
    net = deepcopy(net).to(device, dtype).train()
    entry, parts = METHODS["memory"], build_optimizer(net, OptimizerOptions(exponent=9, horizon=100))
    method = entry.load()(net, *parts, options=entry.options(gumbel=False))
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 2, 3, crop, crop, generator=generator, dtype=torch.float64)
    images += torch.randn(2, 2, 3, 1, 1, generator=generator)  # image pooling needs images that differ
    labels = torch.randint(0, 19, (2, 2, crop // 32, crop // 32), generator=generator)
    labels = labels.repeat_interleave(32, dim=2).repeat_interleave(32, dim=3)
    batch = Batch(images.to(device, dtype), labels.to(device), torch.tensor([False, False]))
    sums: dict[str, Tensor] = {}

    def keep(*gradients: list[Tensor], mean: bool = False) -> None:
        sums.update(zip(method.params, (sum(each) for each in zip(*gradients, strict=True)), strict=True))

    method.apply = keep  # the weights stay
    with autocast(choose_precision(amp, device), device):
        method.step(batch)
    by_part: dict[str, list[Tensor]] = {}
    for name, value in sums.items():
        part = ".".join(name.split(".")[:2]) if name.startswith("encoder") else name.split(".")[0]
        by_part.setdefault(part, []).append(value.cpu().double().flatten())
    return {part: torch.cat(values) for part, values in by_part.items()}


def runs(arch: str, crop: int, device: torch.device, work: Path, iterations: int) -> None:
    """Train, go on elsewhere, evaluate; UsageError if results are not those of the CPU."""
    data = work / "data"
    write_demo(data, domains=["gtav", "synthia", "idd"], train=8, val=4, size=(128, 256), workers=1)
    flags = f"--data_root {data} --exp_root {work} --arch {arch} --crop_size {crop} --device {device} {TRAINING}"
    argv = [*flags.split(), "--val_interval", str(iterations), "--decay_horizon", str(iterations), "--max_iter"]
    straight = train(parse_training([*argv, str(iterations)]))
    folder = train(parse_training([*argv, str(iterations // 3)]))
    for stop, where in ((2 * iterations // 3, "cpu"), (iterations, str(device))):
        train(parse_training(["--resume", str(folder), "--max_iter", str(stop), "--device", where]))
    whole, moved = (losses(run, iterations) for run in (straight, folder))
    equal = {}
    for mode in MODES:
        ours, theirs = (
            labelled(folder, data, work / f"{mode}_on_{name}", mode, where, crop)
            for name, where in (("device", str(device)), ("cpu", "cpu"))
        )
        equal[mode] = np.mean([np.mean(np.all(a == b, axis=-1)) for a, b in zip(ours, theirs, strict=True)])
    print(f"losses at iteration {iterations}: {whole:.4f} without a stop, {moved:.4f} by way of the CPU")
    for mode, share in equal.items():
        print(f"{mode}: {100 * share:.3f} % of the pixels have the same class as on the CPU")
    if not abs(moved / whole - 1) < DRIFT:
        raise UsageError("the run that went on elsewhere has other losses")
    if min(equal.values()) < EQUAL_PIXELS:
        raise UsageError("the device labels other pixels than the CPU")


def losses(run: Path, iteration: int) -> float:
    """The sum of all losses in the log."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (last,) = (row for row in rows if row["kind"] == "train" and row["iteration"] == iteration)
    return sum(value for name, value in last.items() if "/" in name)


def labelled(run: Path, data: Path, out: Path, mode: str, device: str, crop: int) -> list[np.ndarray]:
    """The pictures in class colours (H,W,3) that evaluation writes."""
    scales = "" if mode == "whole" else "--scales 0.5,1.0"
    line = f"--snapshot {run / 'last.pth'} --data_root {data} --dataset gtav idd --inference_mode {mode} {scales}"
    line += f" --crop_size {crop} --gumbel_off --amp off --dump_images --device {device} --out {out} --num_workers 0"
    evaluate(parse_evaluation(line.split()))
    return [np.asarray(Image.open(path)) for path in sorted(out.glob("*/colours/*.png"))]


def main() -> None:
    parser = Parser(prog="python -m benchmarks.gpu_checks", description=__doc__)
    parser.add_argument("check", choices=("gradients", "runs"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--arch", default="DeepR50V3PlusD")
    parser.add_argument("--crop", type=int, default=192, help="side of an image in training")
    parser.add_argument("--iterations", type=int, default=20, help="of the runs")
    parser.add_argument("--work", type=Path, default="on_gpu", help="folder for the data and the runs")
    args = parser.parse_args()
    device = choose_device(args.device)
    if args.check == "gradients":
        gradients(args.arch, args.crop, device)
    else:
        runs(args.arch, args.crop, device, args.work, args.iterations)


if __name__ == "__main__":
    run_program("benchmarks.gpu_checks", main)
