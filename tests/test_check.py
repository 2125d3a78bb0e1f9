"""The data doctor: each fault, one change of a good tree, is found as what it is and as nothing else."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.check import KINDS, check, check_sources
from datasets.check.__main__ import main
from datasets.check.files import Facts
from datasets.check.findings import ERROR, NOTE
from datasets.check.listing import Split
from datasets.check.many import void
from datasets.decoding import read_16_bit
from datasets.demo import LAYOUTS, STYLES, write_demo
from datasets.demo.encodings import _write_16_bit
from datasets.demo.layouts import tree
from datasets.disk.layouts import Sample
from datasets.registry import SPECS, spec
from support.faults import CASES, Place
from utils.errors import UsageError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All domains in all layouts, to be left as they are."""
    home = tmp_path_factory.mktemp("trees")
    for layout in LAYOUTS:
        write_demo(home / layout, train=4, val=2, size=(32, 64), seed=3, layout=layout, workers=1)
    return home


@pytest.fixture
def lists(trees: Path) -> list[Path]:
    """Those that come with SYNTHIA's official layout in the demo."""
    return [trees / "official" / "RAND_CITYSCAPES" / "split_data"]


@pytest.mark.parametrize("case", CASES)
def test_fault(case: str, trees: Path, lists: list[Path], tmp_path: Path) -> None:
    name, layout, change, codes = CASES[case]
    folder = tree(name, layout).folder
    shutil.copytree(trees / layout / folder, tmp_path / folder)
    file = change(Place(tmp_path / folder, name, layout))
    report = check(tmp_path, workers=1, split_files=lists if layout == "official" else ())
    assert {finding.code for finding in report.findings} == set(codes.split()), report.findings
    first = codes.split()[0]
    assert str(file) in [finding.file for finding in report.findings if finding.code == first]
    assert {finding.dataset for finding in report.findings} == {name}
    assert all(finding.message and finding.fix for finding in report.findings)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_clean_trees(layout: str, quick: bool, trees: Path, lists: list[Path]) -> None:
    report = check(trees / layout, workers=1, quick=quick, split_files=lists if layout == "official" else ())
    assert report.findings == ()
    assert [(split.row.name, len(split.samples), split.expected, split.checked) for split in report.splits] == [
        (name, number, number, number) for name in SPECS if name in STYLES for number in (4, 2)
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", STYLES)
def test_folder_of_one_data_set(name: str, layout: str, trees: Path, lists: list[Path], tmp_path: Path) -> None:
    home = trees / layout / tree(name, layout).folder
    options = {"workers": 1, "split_files": lists if layout == "official" else ()}
    renamed = tmp_path / "anything"
    renamed.symlink_to(home)
    for folder in (home, renamed):  # known by its name, and by what lies in it
        report = check(folder, **options)
        assert {split.row.name for split in report.splits} == {name} and report.findings == ()


def test_misnamed_folder(trees: Path, tmp_path: Path) -> None:
    shutil.copytree(trees / "readme" / "GTAV", tmp_path / "GTAV")
    shutil.copytree(trees / "readme" / "bdd-100k", tmp_path / "pictures")
    (finding,) = check(tmp_path, workers=1).findings
    assert (finding.code, finding.file) == ("misnamed_folder", str(tmp_path / "pictures"))
    assert "bdd-100k" in finding.fix


def test_nothing_to_check(trees: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        check(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no data set recognised"):
        check(tmp_path)
    with pytest.raises(UsageError, match=r"no folder acdc, where acdc is expected"):
        check(trees / "readme", names=["gtav", "acdc"])
    with pytest.raises(UsageError, match=r"--split train_extra: no data set in .* has labels of it"):
        check(trees / "readme", names=["gtav", "idd"], split="train_extra")
    (report,) = check(trees / "readme", split="train_extra", workers=1).splits
    assert [finding.code for finding in report.findings] == ["no_images"]  # of Cityscapes, which alone has it
    (tmp_path / "leftImg8bit_trainvaltest.zip").write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"leftImg8bit_trainvaltest.zip\): unzip"):
        check(tmp_path)


def test_list_that_cannot_be_read(trees: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / f"synthia_{split}.txt").write_bytes(b"\xff\xfe\0")
    report = check(trees / "official", names=["synthia"], split_files=[tmp_path], workers=1)
    assert {finding.code for finding in report.findings} == {"split_source"}
    assert str(tmp_path / "synthia_train.txt") in {finding.file for finding in report.findings}


def test_a_few_void_labels_are_natural() -> None:
    def facts(number: int) -> list[Facts]:
        samples = [Sample(Path(f"{index}.jpg"), Path(f"{index}.png"), str(index)) for index in range(100)]
        return [
            Facts(sample, (8, 8), (0, 7), () if index < number else (0,), ()) for index, sample in enumerate(samples)
        ]

    split = Split(spec("cityscapes"), "val")
    assert [finding.severity for finding in void(split, facts(5))] == [NOTE] * 5
    assert [finding.severity for finding in void(split, facts(6))] == [ERROR] * 6


def test_16_bit_labels_without_torch(trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor need not wait for torch, and reads what training reads: also ids above 255."""
    label = Place(trees / "readme" / "synthia", "synthia", "readme").label()
    channels = np.arange(3 * 64 * 32).reshape(32, 64, 3) % 1000
    _write_16_bit(tmp_path / "ids.png", channels)
    paths = [label, tmp_path / "ids.png"]
    by_torch = [read_16_bit(path) for path in paths]
    monkeypatch.delitem(sys.modules, "torch")
    by_pillow = [read_16_bit(path) for path in paths]
    monkeypatch.undo()
    assert all(np.array_equal(*pair) for pair in zip(by_torch, by_pillow, strict=True))
    assert np.array_equal(by_pillow[1], np.minimum(channels[..., 0], 255)) and by_pillow[0].any()


def test_before_training(trees: Path, tmp_path: Path) -> None:
    """The check of what a training has found already, a double by its name among the faults."""
    shutil.copytree(trees / "readme" / "bdd-100k", tmp_path / "bdd-100k")
    row, place = spec("bdd100k"), Place(tmp_path / "bdd-100k", "bdd100k", "readme")

    def findings() -> list[str]:
        return [each.code for each in check_sources([(row, s, row.pairs(tmp_path, s)) for s in ("train", "val")])]

    assert findings() == []
    shutil.copy(place.image("train"), place.image("val").with_name(place.image("train").name))
    shutil.copy(place.label("train"), place.label("val").with_name(place.label("train").name))
    assert findings() == ["double"]
    Image.new("L", (64, 32), 255).save(place.label("train", 0))
    assert sorted(findings()) == ["double", "void_label"]


def test_command(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "report.json"
    assert main([str(trees / "readme"), "--dataset", "gtav", "--workers", "2", "--json", str(file)]) == 0
    assert "nothing wrong was found" in capsys.readouterr().out
    assert json.loads(file.read_text())["findings"] == []
    shutil.copytree(trees / "readme" / "GTAV", tmp_path / "GTAV")
    for split in ("train", "val"):
        for index in range(2):
            Place(tmp_path / "GTAV", "gtav", "readme").label(split, index).write_bytes(b"")
    (tmp_path / "GTAV" / "a.zip").write_bytes(b"PK")
    assert main([str(tmp_path), "--workers", "1", "--json", str(file)]) == 1
    shown, kept = capsys.readouterr().out, json.loads(file.read_text())
    assert [each["code"] for each in kept["findings"]] == ["empty_file"] * 4 + ["archive"]
    assert [(row["split"], row["errors"]) for row in kept["splits"]] == [("train", 2), ("val", 2)]
    for finding in kept["findings"]:
        line = [line for line in shown.splitlines() if f"{finding['file']}: " in line]
        assert len(line) == 1 and line[0].startswith(finding["severity"]) and line[0].endswith(finding["fix"])
    assert "errors: 4, notes: 1" in shown
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_many_faults_are_grouped(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(trees / "readme" / "GTAV", tmp_path / "GTAV")
    for index in range(4):
        Place(tmp_path / "GTAV", "gtav", "readme").image("train", index).write_bytes(b"")
    assert main([str(tmp_path / "GTAV"), "--workers", "1"]) == 1
    shown = capsys.readouterr().out
    assert shown.count(": is empty: fetch the file again") == 3 and "... and 1 more" in shown


def test_every_kind_is_explained_and_tried() -> None:
    told = re.findall(r"^\| `(\w+)` \| (\w+) ", (ROOT / "docs" / "check.md").read_text(), re.MULTILINE)
    assert told == [(code, kind.severity) for code, kind in KINDS.items()]
    tried = {code for case in CASES.values() for code in case.codes.split()}
    assert KINDS.keys() - tried == {"misnamed_folder"}  # which has a test of its own
    assert len(CASES) >= 30
