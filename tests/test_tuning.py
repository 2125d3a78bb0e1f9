"""What of an encoder trains, how it is updated, and what checkpoints of frozen encoders hold."""

import json
from pathlib import Path

import pytest
import timm
import torch
from test_encoders import train
from test_parts import differences
from test_ranks import IMAGES
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import train as training
from checkpoints.frozen_encoders import left_out, merged
from checkpoints.run_files import load_checkpoint
from engine.evaluating.assessment import evaluate
from engine.options.evaluation_options import parse_evaluation
from engine.options.training_command import parse_training
from engine.plan import plan
from methods.method import Method
from network.deeplab import build_network
from network.tuning import LowRankLinear, frozen_entries
from optimizer.optimizers import build_optimizer
from optimizer.schedules import OptimizerOptions
from support.mistakes import training_mistake
from support.ranks import run_ranks
from utils.errors import CommonError, UsageError

TUNES = ["head", "last:2", "lora:4"]
BACKBONE = "encoder.backbone."


def trained(net: nn.Module) -> set[str]:
    params = net.encoder.backbone.named_parameters()
    return {name for name, param in params if param.requires_grad}


def test_which_weights_train() -> None:
    everything = trained(build_network("timm:test_vit", 5))
    assert trained(build_network("timm:test_vit", 5, tune="head")) == set()
    last = trained(build_network("timm:test_vit", 5, tune="last:2"))
    assert last == {name for name in everything if name.startswith(("net.blocks.4.", "net.blocks.5.", "net.norm."))}
    low = trained(build_network("timm:test_vit", 5, tune="lora:4"))
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert low == {f"net.blocks.{k}.{layer}.{part}" for k in range(6) for layer in layers for part in ("up", "down")}
    norms = {name for name in everything if "norm" in name}
    assert trained(build_network("timm:test_vit", 5, norms="freeze")) == everything - norms
    assert trained(build_network("timm:test_vit", 5, tune="head", norms="train")) == norms
    ours = build_network("DeepR18V3PlusD", 5, tune="last:1")
    assert {name.split(".")[1] for name in trained(ours)} == {"3"}
    for module in ours.train().encoder.backbone.modules():
        assert not isinstance(module, _BatchNorm) or module.training == module.weight.requires_grad


def merged_weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return merged({"weights": net.state_dict(), "network": {"tune": "lora:4"}})["weights"]


@pytest.mark.parametrize("encoder", ["test_vit", "eva02_tiny_patch14_224", "test_convnext"])
@torch.no_grad()
def test_low_rank_updates_are_merged(encoder: str) -> None:
    net = build_network(f"timm:{encoder}", 5, tune="lora:4").eval()
    plain = build_network(f"timm:{encoder}", 5).eval()
    images = torch.randn(1, 3, 64, 64)
    plain.load_state_dict(merged_weights(net))
    before = net(images).logits
    torch.testing.assert_close(plain(images).logits, before)
    updates = [module for module in net.modules() if isinstance(module, LowRankLinear)]
    for module in updates:  # each of them counts
        module.up.normal_(std=0.5)
        assert not torch.equal(net(images).logits, before)
        module.up.zero_()
    for module in updates:
        module.up.normal_(std=0.1)
    plain.load_state_dict(merged_weights(net))
    torch.testing.assert_close(plain(images).logits, net(images).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tune", TUNES)
def test_only_these_change_in_ranks_too(tune: str, tmp_path: Path) -> None:
    expected = train("pinmem", "test_vit", IMAGES // 2, tune)
    torch.manual_seed(0)
    before = build_network("timm:test_vit", 19, tune=tune).double()
    start = before.state_dict().items()
    changed = {name for name, value in start if not torch.equal(value, expected[name].float().double())}
    frozen = {*frozen_entries(before)}
    assert frozen and not frozen & changed and {BACKBONE + name for name in trained(before)} <= changed
    for results in run_ranks(train, 2, tmp_path, "pinmem", "test_vit", IMAGES // 2, tune):
        assert differences(results, expected) < 1e-8


def flags(data: Path, out: Path, *extra: str) -> list[str]:
    line = (
        f"--data_root {data} --exp_root {out} --exp run --val_dataset mapillary --mapillary_crop 0 --device cpu "
        "--crop_size 48 --bs_mult 2 --max_iter 4 --val_interval 4 --log_interval 2 --save_interval 2 --num_workers 0 "
        "--mem_init_batches 1 --val_images 1 --mldg --memory --mem_dim 16 --decoder_dim 16 --keep 2"
    )
    return [*line.split(), *extra]


def run_of(out: Path) -> Path:
    (run,) = (out / "run").iterdir()
    return run


def tensors(entry: object, name: str = "") -> dict[str, Tensor]:
    if isinstance(entry, Tensor):
        return {name: entry}
    pairs = entry.items() if isinstance(entry, dict) else enumerate(entry) if isinstance(entry, list | tuple) else ()
    return {key: value for part, each in pairs for key, value in tensors(each, f"{name}/{part}").items()}


WAYS = {
    "test_vit": "--tune lora:4 --optimizer adamw --layer_decay 0.8 --warmup 3 --clip_grad 1",
    "test_convnext": "--tune last:1 --backbone_norms train",
    "test_efficientnet": "--tune head",
    "test_resnet": "--checkpoint_activations --clip_grad 0.1",
}


def started(encoder: str, data: Path, folder: Path) -> list[str]:
    """The flags of a run from a file of weights, which is written."""
    torch.save(timm.create_model(encoder).state_dict(), folder / "encoder.pth")
    start = f"--arch timm:{encoder} --pretrained_backbone {folder / 'encoder.pth'} --decay_horizon 16 {WAYS[encoder]}"
    return flags(data, folder / "out", *start.split())


@pytest.mark.parametrize("encoder", WAYS)
def test_a_run_goes_on_as_if_it_had_not_stopped(encoder: str, data: Path, tmp_path: Path) -> None:
    line = started(encoder, data, tmp_path)
    training.main(line)
    whole = load_checkpoint(run_of(tmp_path / "out").rename(tmp_path / "whole") / "last.pth")
    training.main([*line, "--max_iter", "2"])
    training.main(["--resume", str(run_of(tmp_path / "out")), "--max_iter", "4"])
    parts = load_checkpoint(run_of(tmp_path / "out") / "last.pth")
    one, other = (tensors({key: content[key] for key in ("weights", "optimizer")}) for content in (whole, parts))
    assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
    assert whole["network"] == parts["network"]


@pytest.mark.parametrize("encoder", list(WAYS)[:3])
def test_a_checkpoint_holds_what_was_trained(encoder: str, data: Path, tmp_path: Path) -> None:
    training.main([*started(encoder, data, tmp_path), "--max_iter", "1"])
    checkpoint, weights = run_of(tmp_path / "out") / "last.pth", tmp_path / "encoder.pth"
    content = load_checkpoint(checkpoint)
    config = content["network"]
    net = build_network(config["arch"], 19, tune=config["tune"], norms=config["norms"])
    kept = {name.removeprefix(BACKBONE) for name in content["weights"] if name.startswith(BACKBONE)}
    assert trained(net) <= kept and not {BACKBONE + name for name in kept} & left_out(net)
    resampled = {"net.pos_embed", "net.patch_embed.proj.weight"}  # the machine decides their last bits
    assert encoder != "test_vit" or resampled <= kept
    assert config["frozen"]["source"] == str(weights)

    def scores(name: str, *extra: str) -> dict:
        line = f"--snapshot {checkpoint} --dataset gtav --data_root {data} --device cpu --limit 1"
        evaluate(parse_evaluation([*line.split(), "--out", str(tmp_path / name), *extra]))
        return json.loads((tmp_path / name / "results.json").read_text())["domains"]

    expected = scores("first")
    moved = weights.rename(tmp_path / "moved.pth")
    with pytest.raises(UsageError, match=r"the weights of its frozen timm:.* are not in .*\(no such file\)"):
        scores("second")
    assert scores("third", "--pretrained_backbone", str(moved)) == expected
    torch.save(timm.create_model(encoder).state_dict(), weights)
    with pytest.raises(UsageError, match=r"last.pth: the weights .* \(other weights\); put them back"):
        scores("fourth")
    training.main(["--resume", str(checkpoint), "--max_iter", "2", "--pretrained_backbone", str(moved)])
    assert load_checkpoint(checkpoint)["network"]["frozen"] == config["frozen"] | {"source": str(moved)}


def test_the_plan_says_what_trains(data: Path, tmp_path: Path) -> None:
    text = plan(parse_training(flags(data, tmp_path, *WAYS["test_vit"].split(), "--arch", "timm:test_vit")))
    assert "encoder     maps at strides 16, 16, 16, 16\n" in text and "--tune lora:4)" in text
    assert "optimizer   AdamW, warm-up of 3 iterations, times 0.8 for each block" in text
    text = plan(parse_training(flags(data, tmp_path, "--arch", "timm:test_byobnet")))
    assert "4, 8, 16, 32; timm cannot dilate it to stride 16, so it runs at its own, 32" in text and "(100.0%" in text


def test_rates_by_depth_and_warm_up() -> None:
    net = build_network("timm:test_vit", 5)
    options = OptimizerOptions(optimizer="adamw", lr=1.0, layer_decay=0.5, warmup=4, exponent=9, horizon=100)
    optimizer, schedule = build_optimizer(net, options)
    rates = {id(param): group["initial_lr"] for group in optimizer.param_groups for param in group["params"]}
    blocks = net.encoder.backbone.net.blocks
    assert rates[id(net.classifier.weight)] == 1 and rates[id(blocks[5].norm1.weight)] == 0.5
    assert rates[id(blocks[0].norm1.weight)] == 0.5**6 and rates[id(net.encoder.backbone.net.cls_token)] == 0.5**7
    assert schedule.get_last_lr()[-1] == 0.25 * optimizer.param_groups[-1]["initial_lr"]
    assert [round(options.factor(k), 2) for k in (0, 1, 3)] == [0.25, 0.46, 0.76]


def test_gradients_are_clipped() -> None:
    net = nn.Linear(3, 1, bias=False)
    optimizer, schedule = build_optimizer(net, OptimizerOptions(lr=1.0, weight_decay=0, exponent=9, horizon=100))
    method, before = Method(net, optimizer, schedule, options=None, clip=0.5), net.weight.detach().clone()
    method.apply([torch.tensor([[3.0, 0.0, 4.0]])])
    torch.testing.assert_close(before - net.weight, torch.tensor([[0.3, 0.0, 0.4]]))
    method.apply([torch.tensor([[0.0, 0.1, 0.0]])])
    assert net.weight[0, 1] != before[0, 1]


MISTAKES = {
    "--tune lora:0": "--tune: lora:0: give all, head, last:N or lora:R, with a number from 1",
    "--arch timm:test_vit --tune last:9": "--tune last:9: the encoder has 6 blocks; give last:6 or less, or all",
    "--arch timm:test_convnext --tune lora:30": "--tune lora:30: a layer of the encoder has 24 channels; give 24",
    "--arch timm:test_resnet --tune lora:8": "--tune lora:8: its blocks have no linear layers; give last:N",
    "--tune head --wt_layer 0 0 4 4 4 0 0": "--wt_layer: added norms must train; give --tune all",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes(line: str, capsys: pytest.CaptureFixture) -> None:
    assert MISTAKES[line] in training_mistake(f"{line} --crop_size 64", capsys)


def test_defaults_of_the_optimizers() -> None:
    usual = {"": (0.01, 5e-4), "--optimizer adamw": (1e-4, 0.05), "--optimizer adamw --lr 1": (1, 0.05)}
    for line, (rate, decay) in usual.items():
        options = parse_training(line.split()).optimizer
        assert (options.lr, options.weight_decay) == (rate, decay)


def test_a_snapshot_of_other_updates(data: Path, tmp_path: Path) -> None:
    line = ["--arch", "timm:test_vit", "--pretrained_backbone", "none", "--max_iter", "1"]
    training.main(flags(data, tmp_path, *line, "--tune", "lora:4"))
    snapshot = ["--snapshot", str(run_of(tmp_path) / "last.pth")]
    with pytest.raises((CommonError, UsageError), match=r"another low-rank update \(--tune\): there lora:4, here none"):
        training.main(flags(data, tmp_path / "b", *line, *snapshot))
    training.main(flags(data, tmp_path / "b", *line, *snapshot, "--tune", "lora:4"))
