"""Encoders of timm: shapes, strides, dilation, normalisation, start weights; every method trains on each family."""

import os
import re
from pathlib import Path

import pytest
import timm
import torch
from test_parts import differences
from test_ranks import IMAGES, joint_batch, part
from torch import Tensor

from methods import METHODS
from methods.pinmem import write_first_memory
from network.backbones import Backbone, build_backbone
from network.batch_norms import target_normalised
from network.categorical_memory import CategoricalMemory
from network.deeplab import build_network
from network.recomputing import recompute_in_backward
from network.timm_encoders import facts_of
from support.methods import NAMES
from support.mistakes import training_mistake
from support.ranks import run_ranks, small_method
from utils.distributed import all_sum
from utils.errors import UsageError
from utils.processes import rank, world_size

PYRAMIDS = ["test_resnet", "test_convnext", "test_efficientnet", "regnety_002", "mobilenetv4_conv_small_035"]
VITS = ["test_vit", "test_vit3", "vit_tiny_patch16_dinov3_qkvb", "eva02_tiny_patch14_224"]  # the third has registers
FAST = ["test_convnext", "test_efficientnet", "test_vit"]
ALL = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in (*PYRAMIDS, *VITS)]
REALDATA = Path(os.environ.get("PINMEM_REALDATA", Path(__file__).parents[2] / "shared" / "realdata"))
SIZES = [(64, 96), (50, 71), (33, 131)]


@pytest.mark.parametrize("name", [*PYRAMIDS, *VITS])
@torch.no_grad()
def test_maps_and_logits_of_any_size(name: str) -> None:
    net = build_network(f"timm:{name}", 7, memory=CategoricalMemory(7)).eval()
    backbone = net.encoder.backbone
    assert backbone.strides == ((16,) * 4 if name in VITS else (4, 8, 16, 16)) and not backbone.note
    for size in SIZES:
        images = torch.randn(1, 3, *size)
        covered = [-(-side // backbone.multiple) * backbone.multiple for side in size]
        for x, channels, stride in zip(backbone(images), backbone.channels, backbone.strides, strict=True):
            assert x.shape == (1, channels, *(-(-side // stride) for side in covered))
        assert net(images).logits.shape == (1, 7, *size)
        assert target_normalised(net)(torch.cat([images, images])).logits.shape == (2, 7, *size)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
@torch.no_grad()
def test_a_padded_image_is_labelled_at_the_same_places(name: str) -> None:
    """Columns and rows of what is zero for the encoder change nothing."""
    net = build_network(f"timm:{name}", 3).eval()
    backbone = net.encoder.backbone
    assert backbone.multiple == 16
    image = torch.randn(1, 3, 50, 71)
    padded = (-backbone.shift / backbone.scale).expand(1, 3, 64, 80).clone()
    padded[..., :50, :71] = image
    torch.testing.assert_close(net(image).logits, net(padded).logits[..., :50, :71], atol=1e-5, rtol=1e-5)


DILATED = {  # whether stride 16 and stride 8 by dilation are right
    "test_resnet": (True, False), "test_convnext": (True, False), "test_efficientnet": (True, True),
    "convnextv2_atto": (True, False), "regnety_002": (True, True), "mobilenetv4_conv_small_035": (True, True),
    "resnet18": (True, True), "tf_efficientnet_b0": (False, False), "densenet121": (False, False),
    "test_byobnet": (False, False), "test_efficientnet_gn": (False, False),
}  # fmt: skip


@pytest.mark.parametrize("name", DILATED)
def test_dilation_is_used_only_where_it_is_right(name: str) -> None:
    for stride, right in zip((16, 8), DILATED[name], strict=True):
        facts = facts_of(name, stride)
        assert facts.strides[-1] == (stride if right else 32)
        assert facts.note == ("" if right else f"timm cannot dilate it to stride {stride}, so it runs at its own, 32")
    assert facts_of(name, 32).strides == (4, 8, 16, 32) and not facts_of(name, 32).note


@pytest.mark.parametrize("name", ["test_convnext", "resnet18"])
@torch.no_grad()
def test_the_dilated_map_goes_through_that_of_stride_32(name: str) -> None:
    dilated, own = (build_backbone(f"timm:{name}", stride).eval() for stride in (16, 32))
    for param in dilated.parameters():
        param.normal_(std=0.1)  # blocks that start at zero would hide a mistake
    own.load_state_dict(dilated.state_dict())
    images = torch.randn(1, 3, 128, 192)
    fine, coarse = dilated(images)[-1], own(images)[-1]
    assert fine.shape[-2:] == (8, 12) and coarse.shape[-2:] == (4, 6)
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(not REALDATA.exists(), reason="needs the weights of ImageNet beside the real pictures")
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@torch.no_grad()
def test_resnets_equal_ours(name: str) -> None:
    file = str(REALDATA / "weights" / f"{name}_imagenet_nofc_fp16.pth")
    theirs = build_backbone(f"timm:{name}", 32, pretrained=file).eval()
    ours = Backbone(name, 32, pretrained=file).eval()
    for size in ((96, 128), (75, 101)):
        images = torch.randn(1, 3, *size)
        for x, y in zip(theirs(images), ours(images), strict=True):
            torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
@torch.no_grad()
def test_images_are_normalised_as_the_encoder_wants(name: str) -> None:
    backbone = build_backbone(f"timm:{name}").eval()
    config = timm.create_model(name).pretrained_cfg
    raw = torch.rand(1, 3, 32, 32)
    mean, std, own_mean, own_std = (
        torch.tensor(x).view(3, 1, 1)
        for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), config["mean"], config["std"])
    )
    seen: list[Tensor] = []
    backbone.net.forward_intermediates = lambda x, **_: seen.append(x) or [x] * 4
    if backbone.indices is None:
        backbone.net.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    backbone((raw - mean) / std)
    torch.testing.assert_close(seen[0], (raw - own_mean) / own_std)
    assert {"scale", "shift"} < backbone.state_dict().keys()
    by_itself = build_backbone(f"timm:{name}", image_in=True)
    assert torch.equal(by_itself.scale, torch.ones(3, 1, 1)) and not by_itself.shift.any()


@pytest.mark.parametrize("name", ["test_convnext", "test_vit3", "eva02_tiny_patch14_224", "test_efficientnet"])
@torch.no_grad()
def test_weights_of_a_file(name: str, tmp_path: Path) -> None:
    """Names are timm's; the classifier may be there or not; the weights may lie beside others, or in a ``module``."""
    from safetensors.torch import save_file

    model = timm.create_model(name)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    bare = {k: v for k, v in model.state_dict().items() if not k.startswith(("head.fc", "classifier"))}
    torch.save({"model": {f"module.{k}": v for k, v in bare.items()}, "epoch": 300}, tmp_path / "w.pth")
    first, second = (
        build_backbone(f"timm:{name}", pretrained=str(tmp_path / file)).state_dict()
        for file in ("w.safetensors", "w.pth")
    )
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    blocks = [key for key in first if "blocks" in key]
    stored = {re.sub(r"\W", "_", key): value for key, value in model.state_dict().items()}
    assert len(blocks) > 10
    assert all(torch.equal(first[key], stored[re.sub(r"\W", "_", key.removeprefix("net."))]) for key in blocks)
    torch.save(dict(list(model.state_dict().items())[3:]), tmp_path / "cut.pth")
    with pytest.raises(UsageError, match=r"cut.pth: is .*; give a file of"):
        build_backbone(f"timm:{name}", pretrained=str(tmp_path / "cut.pth"))


def test_patches_of_14_are_resampled_without_loss(tmp_path: Path) -> None:
    """An image enlarged by 16/14 has the tokens that the image had before."""
    name = "eva02_tiny_patch14_224"
    model = timm.create_model(name)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    large = build_backbone(f"timm:{name}", pretrained=str(tmp_path / "w.pth")).net
    rows = torch.randn(1, 3, 16, 16, 14, 14)
    patches = torch.nn.functional.interpolate(
        rows.flatten(0, 3).view(-1, 1, 14, 14), (16, 16), mode="bicubic", antialias=True
    )
    image = rows.permute(0, 1, 2, 4, 3, 5).reshape(1, 3, 224, 224)
    enlarged = patches.view(1, 3, 16, 16, 16, 16).permute(0, 1, 2, 4, 3, 5).reshape(1, 3, 256, 256)
    theirs, ours = model.patch_embed.proj(image), large.patch_embed.proj(enlarged)
    assert theirs.shape == ours.shape
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def train(name: str, encoder: str, per_rank: int, tune: str = "all", recompute: bool = False) -> dict[str, Tensor]:
    """The state after two iterations, and the sums of the losses over the ranks."""

    def backbone() -> torch.nn.Module:
        made = build_network(f"timm:{encoder}", 19, tune=tune).encoder.backbone
        if recompute:
            recompute_in_backward(made.blocks)
        return made

    method = small_method(backbone, name, inner_lr=0.1)
    own = slice(rank() * per_rank, (rank() + 1) * per_rank) if world_size() > 1 else slice(None)
    found = {}
    if METHODS[name].memory:
        write_first_memory(method.net, [part(joint_batch(9, per_rank), own)])
    for iteration in range(2):
        terms = method.step(part(joint_batch(iteration, per_rank), own))
        found |= {f"{iteration} {name}": all_sum(term) for name, term in terms.items()}
    return method.net.state_dict() | found


@pytest.mark.parametrize("encoder", ALL)
def test_ranks_equal_one_process(encoder: str, tmp_path: Path) -> None:
    names = ["pinmem"] if encoder in FAST else NAMES
    ranks = run_ranks(train_each, 2, tmp_path, names, encoder)
    for kind, expected in enumerate(train_each(names, encoder)):
        assert all(value.isfinite().all() for value in expected.values())
        for results in ranks:
            assert differences(results[kind], expected) < 1e-8


def train_each(names: list[str], encoder: str) -> list[dict[str, Tensor]]:
    return [train(name, encoder, IMAGES // 2) for name in names]


@pytest.mark.parametrize("encoder", ALL)
def test_recomputed_activations_equal_kept_ones(encoder: str) -> None:
    for name in ["pinmem"] if encoder in FAST else NAMES:
        expected, found = (train(name, encoder, IMAGES, recompute=recompute) for recompute in (False, True))
        assert differences(found, expected) < 1e-12


def test_recomputing_keeps_less(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    for recompute in (False, True):
        backbone = build_backbone("timm:test_vit")
        if recompute:
            recompute_in_backward(backbone.blocks)
        numbers: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=numbers: kept.append(x.numel()) or x, lambda x: x):
            backbone(torch.randn(2, 3, 64, 64))
        kept.append(sum(numbers))
    assert kept[1] < kept[0] / 3


MISTAKES = {
    "--arch timm:resnet5": "--arch timm:resnet5: timm [0-9.]+ has no such model; close names: resnet50",
    "--arch timm:resnet50.b1": "has no such model; close names: resnet50",
    "--arch timm:swin_tiny_patch4_window7_224": "cannot be the encoder here (it takes images of some sizes only)",
    "--arch timm:samvit_base_patch16": "cannot be the encoder here (it has no setting dynamic_img_size)",
    "--arch timm:vitamin_small_224": "cannot be the encoder here (it has convolutions before its blocks)",
    "--arch timm:mambaout_femto": "cannot be the encoder here (its maps have the channels last)",
    "--arch timm:levit_128": "cannot be the encoder here (it has 3 maps, not 4)",
    "--arch timm:test_vit --crop_size 500": "--crop_size 500: timm:test_vit has cells of 16 pixels; give .* 496",
    "--arch timm:test_convnext --wt_layer 0 0 4 4 4 0 0": "--wt_layer: timm:test_convnext has no place",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes(line: str, capsys: pytest.CaptureFixture) -> None:
    message = re.sub(r"([()])", r"\\\1", MISTAKES[line])
    assert re.search(message, training_mistake(line, capsys))


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(timm.models._builder, "load_pretrained", refuse)
    with pytest.raises(
        UsageError, match=r"imagenet: timm's test_vit cannot be downloaded \(no network\); give the path"
    ):
        build_backbone("timm:test_vit", pretrained="imagenet")
