"""Files of the authors' release: read without running code from them, recognised by their entries, used as ours."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_network import KEYS, PLACES
from test_parity import seeded_network

from checkpoints.adoption import as_ours
from checkpoints.recognition import Recognised, recognise
from checkpoints.release_format import ITEMS, to_ours, to_release
from checkpoints.run_files import load_weights, read_checkpoint
from engine.build import network_from
from network.archs import ARCHS
from network.categorical_memory import CategoricalMemory
from network.deeplab import build_network
from support.golden import golden_path, make_images, net_called
from support.release_files import EPOCH, release_file, release_state, write_release
from utils.errors import UsageError
from utils.safe_loading import load_safely

# Reading


@pytest.mark.parametrize("core", ["core", "_core"])  # as NumPy 1 and 2 write it
@pytest.mark.parametrize("value", [np.float64(0.02565273940081578), np.float32(0.5), np.int64(-3)])
def test_numpy_numbers(value: np.number, core: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"mean_iu": value, "weight": torch.arange(3)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(re.sub(rb"numpy\._?core", b"numpy." + core.encode(), path.read_bytes()))
    read = load_safely(path)
    assert read["mean_iu"] == value and type(read["mean_iu"]) in (int, float)


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize(
    "held",
    [np.array([1.0]), np.dtype("O"), np.array([Call(print)])[0], Call(os.system, "touch marker"), Call(np.load, "x"),
     Call(eval, "1"), Call(np.dtype, "f8", Call(os.system, "touch marker"))],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_anything_else_is_refused(held: object, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "mean_iu": held}, "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UsageError, match="not a readable checkpoint") as error:
        read_checkpoint(Path("x.pth"), "--snapshot")
    assert not Path("marker").exists() and "weights_only" not in str(error.value)  # torch's advice is to run it


# Recognition


def fits(recognised: Recognised, wt_layer: list[int]) -> bool:
    return all(number in numbers for number, numbers in zip(wt_layer, recognised.norms, strict=True))


@pytest.mark.parametrize("name", KEYS)
def test_recognition_by_names_and_shapes(name: str) -> None:
    lines = [line.split("\t") for line in golden_path(f"keys_{name}.txt").read_text().splitlines() if line[0] != "#"]
    expected = net_called(name)
    with torch.device("meta"):
        weights = {
            to_ours(key): torch.empty([int(n) for n in size.split("x") if n.isdigit()]) for key, size, _ in lines
        }
        if expected.memory:
            weights[ITEMS] = torch.empty(19, 256)
    recognised = recognise(weights, name)
    row = next(row for arch, row in ARCHS.items() if arch.endswith(f".{expected.arch}"))
    assert {(ARCHS[arch].head, ARCHS[arch].backbone) for arch in recognised.archs} == {(row.head, row.backbone)}
    assert any(arch.endswith(f".{expected.arch}") for arch in recognised.archs) and "_OS8" not in recognised.archs[0]
    assert (recognised.num_classes, recognised.aux, recognised.dim) == (19, True, 256)
    assert recognised.slots == (19 if expected.memory else None)
    assert fits(recognised, expected.wt_layer) and not fits(recognised, [5] * 7)


def test_every_backbone_is_recognised() -> None:
    rows = {row.backbone: (arch, row) for arch, row in reversed(ARCHS.items())}
    for arch, row in [*rows.values(), ("network.deepv3.DeepR18V3D", ARCHS["network.deepv3.DeepR18V3D"])]:
        with torch.device("meta"):
            net = build_network(arch, 7, memory=CategoricalMemory(9, dim=32), dim=32, decoder_dim=48, aux=False)
        recognised = recognise(net.state_dict(), "x")
        alike = tuple(name for name, other in ARCHS.items() if other[:2] == row[:2])
        assert recognised == Recognised(alike, 7, False, 32, 48, 9, recognised.norms)
        assert recognised.wt_layer == [0] * 7


@pytest.mark.parametrize(("arch", "stem", "kind"), PLACES)
def test_norms_that_leave_entries_are_recognised(arch: str, stem: int, kind: int) -> None:
    wt_layer = [kind if place >= 3 - stem else 0 for place in range(7)]
    with torch.device("meta"):
        state = build_network(arch, 5, wt_layer=wt_layer).state_dict()
    recognised = recognise({to_ours(to_release(key)): value for key, value in state.items()}, "x")
    assert fits(recognised, wt_layer) and not fits(recognised, [0 if kind > 3 else 4] * 7)
    assert kind <= 3 or recognised.wt_layer == wt_layer


# Use as one of ours


def adopted(path: Path, **flags: object) -> dict:
    return as_ours(read_checkpoint(path, "--snapshot"), path, **flags)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["r18v3p_mem", "r50v3p_mem", pytest.param("r101v2_mem", marks=pytest.mark.slow)])
@torch.no_grad()
def test_logits_of_a_file_of_the_release(name: str, tmp_path: Path) -> None:
    """They are those of the seeded network, which test_parity.py compares with the release."""
    content = adopted(write_release(tmp_path / "x.pth", name, mean_iu=np.float64(0.0256)))
    net = network_from(content["network"])
    load_weights(net, content["weights"], "--snapshot")
    images = torch.from_numpy(make_images(1234, 2, 65, 97))
    ours, expected = (x.eval().to(memory_format=torch.contiguous_format)(images) for x in (net, seeded_network(name)))
    assert torch.equal(ours.logits, expected.logits) and torch.equal(ours.reading.weights, expected.reading.weights)
    assert content["origin"] == {"format": "release", "epoch": EPOCH, "mean_iu": 0.0256}


def test_flags_supply_what_a_file_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_release(tmp_path / "x.pth", "shuffle_mem", zipped=False)
    assert adopted(path)["network"]["output_stride"] is None
    (note,) = capsys.readouterr().out.splitlines()
    assert "DeepShuffleNetV3PlusD with memory and auxiliary head, 19 classes and --wt_layer 0 0 0 0 0 0 0; " in note
    arch, wt_layer = "network.deepv3plus.DeepShuffleNetV3PlusD_OS32", [0, 0, 2, 2, 2, 0, 0]
    config = adopted(path, arch=arch, wt_layer=wt_layer, image_in=True, output_stride=8)["network"]
    assert (config["arch"], config["wt_layer"], config["image_in"]) == (arch, wt_layer, True)
    assert config["output_stride"] == 8


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_a_state_dict_alone(prefix: str, tmp_path: Path) -> None:
    state = {prefix + key.removeprefix("module."): value for key, value in release_state("mobile_ibn").items()}
    torch.save(state, tmp_path / "x.pth")
    content = adopted(tmp_path / "x.pth")
    assert content["network"]["wt_layer"] == [0, 0, 4, 4, 4, 0, 0] and content["origin"] == {"format": "bare"}
    load_weights(network_from(content["network"]), content["weights"], "--snapshot")


def more(**entries: torch.Tensor) -> Callable[[dict], object]:
    return lambda content: content["state_dict"].update(entries)


CONVOLUTION = "module.layer1.0.conv1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["state_dict"].pop(CONVOLUTION), f"DeepR18V3PlusD, or are missing: {CONVOLUTION};"),
        (more(a=torch.ones(1), b=torch.ones(1)), "missing: module.a, module.b;"),
        (lambda content: content.update(memory=torch.ones(19, 4)), "missing: memory;"),
        (lambda content: content.update(state_dict={}), "nor one of the authors' release with a state_dict of tensors"),
        (lambda content: content.update(state_dict={"x": 1}), "with a state_dict of tensors .x is 1.;"),
        (lambda content: content.update(state_dict=[1]), "with a state_dict of tensors .the content is list.;"),
        (more(**{"final2.0.bias": torch.ones(19)}), "or there twice"),  # there with a prefix already
    ],
)
def test_a_file_that_fits_no_network(change: Callable, message: str, tmp_path: Path) -> None:
    content = release_file("r18v3p_mem")
    change(content)
    with pytest.raises(UsageError, match=message) as error:
        as_ours(content, tmp_path / "x.pth")
    assert "\n" not in str(error.value) and str(tmp_path / "x.pth") in str(error.value)


def test_whitening_in_the_stem_needs_its_flag() -> None:
    release, path = release_file("r50v3p_isw"), Path("x.pth")
    with pytest.raises(UsageError, match="give the --wt_layer of its training"):
        as_ours(release, path)
    with pytest.raises(UsageError, match=r"list of norms \(--wt_layer\): there 0 0 2 2 2 0 0, here 0 0 0 2 2 0 0"):
        as_ours(release, path, wt_layer=[0, 0, 0, 2, 2, 0, 0])
    content = as_ours(release, path, wt_layer=[0, 0, 2, 2, 2, 0, 0])
    load_weights(network_from(content["network"]), content["weights"], "--snapshot")
