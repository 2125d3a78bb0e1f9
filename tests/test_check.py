"""The data doctor: each fault, one change of a good tree, is reported under its code and under no other."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from datasets.check import FAULTS, check, check_sources
from datasets.check.__main__ import main
from datasets.check.contents import PairFacts, split_faults
from datasets.check.findings import ERROR, NOTE
from datasets.check.listing import Split
from datasets.demo import LAYOUTS, STYLES, write_demo
from datasets.disk.layouts import Sample
from datasets.labels import table
from datasets.registry import SPECS, spec
from support.faults import CASES, SPLITS, Place
from support.own_data import write_own
from utils.errors import UsageError

DOCS = Path(__file__).parent.parent / "docs" / "check.md"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All domains in all layouts, to be left as they are."""
    home = tmp_path_factory.mktemp("trees")
    for layout in LAYOUTS:
        write_demo(home / layout, train=4, val=2, size=(32, 64), seed=3, layout=layout, workers=1)
    return home


def options(layout: str, trees: Path) -> dict:
    """The official layout of SYNTHIA needs lists of its splits."""
    return {"split_files": [trees / "official" / "RAND_CITYSCAPES" / "split_data"] if layout == "official" else ()}


@pytest.fixture
def gtav(trees: Path, tmp_path: Path) -> Place:
    """A copy of GTAV that a test may change."""
    return Place(shutil.copytree(trees / "readme" / "GTAV", tmp_path / "GTAV"), "gtav", "readme")


@pytest.mark.parametrize("case", CASES)
def test_fault(case: str, trees: Path, tmp_path: Path) -> None:
    name, layout, change, codes = CASES[case]
    folder = LAYOUTS[layout][name].folder
    file = change(Place(shutil.copytree(trees / layout / folder, tmp_path / folder), name, layout))
    findings = check(tmp_path, **options(layout, trees)).findings
    assert {finding.code for finding in findings} == set(codes.split()), findings
    named = [finding for finding in findings if finding.code == codes.split()[0]]
    assert any(str(file) in f"{finding.file}: {finding.message}" for finding in named)
    assert all(finding.message and finding.fix and finding.dataset == name for finding in findings)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_clean_trees(layout: str, quick: bool, trees: Path) -> None:
    report = check(trees / layout, quick=quick, **options(layout, trees))
    assert not report.findings
    assert [(split.dataset.name, len(split.pairs), split.pairs.expected) for split in report.splits] == [
        (name, number, number) for name in SPECS if name in STYLES for number in (4, 2)
    ]


def test_folder_of_one_data_set(trees: Path, tmp_path: Path) -> None:
    """It is known by its name, or named by the user; a data root with such a folder has a note."""
    home, renamed = trees / "readme" / "GTAV", tmp_path / "anything"
    renamed.symlink_to(home)
    for report in (check(home), check(renamed, names=["gtav"])):
        assert {split.dataset.name for split in report.splits} == {"gtav"} and not report.findings
    shutil.copytree(trees / "readme" / "idd", tmp_path / "idd")
    (finding,) = check(tmp_path).findings
    assert (finding.code, finding.file) == ("unread_folder", str(renamed))


def test_nothing_to_check(trees: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        check(tmp_path / "nowhere")
    (tmp_path / "my_acdc").mkdir()
    with pytest.raises(UsageError, match=r"no data set recognised in .* acdc .*, it has my_acdc: rename"):
        check(tmp_path)
    with pytest.raises(UsageError, match=r"no data set recognised in a folder acdc"):
        check(trees / "readme", names=["gtav", "acdc"])
    with pytest.raises(UsageError, match=r"--split train_extra: no data set in .* has labels for it"):
        check(trees / "readme", names=["gtav", "idd"], split="train_extra")
    (report,) = check(trees / "readme", split="train_extra").splits
    assert [finding.code for finding in report.findings] == ["no_images"]  # only Cityscapes has this split


def test_list_that_cannot_be_read(trees: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / f"synthia_{split}.txt").write_bytes(b"\xff\xfe\0")
    findings = check(trees / "official", names=["synthia"], split_files=[tmp_path]).findings
    assert {finding.code for finding in findings} == {"refused_split"}
    assert str(tmp_path / "synthia_train.txt") in {finding.file for finding in findings}


@pytest.mark.parametrize(("number", "severity"), [(5, NOTE), (6, ERROR)])
def test_a_few_void_labels_are_natural(number: int, severity: str) -> None:
    sample = Sample(Path("a.jpg"), Path("a.png"), "a")
    void, good = (PairFacts(sample, [], (8, 8), (0, 26), classes) for classes in ((), (0,)))
    findings = split_faults(Split(spec("cityscapes"), "val"), [void] * number + [good] * (100 - number))
    assert [(finding.code, finding.severity) for finding in findings] == [("plain_label", severity)] * number


def test_labels_of_train_ids() -> None:
    """Without 255, one label may have low ids by chance, but not all of a split."""
    low, high = (PairFacts(Sample(Path("a.jpg"), Path("a.png"), "a"), [], (8, 8), (0, 8, id), (0,)) for id in (10, 23))
    for pairs, count in (([low] * 8, 8), ([low] * 7, 0), ([low] * 20 + [high], 0)):
        findings = split_faults(Split(spec("cityscapes"), "val"), pairs)
        assert [finding.code for finding in findings] == ["train_ids"] * count
    few = replace(spec("cityscapes"), table=table({0: 0, 8: 13}), ids=range(11))  # own ids that are low too
    assert not list(split_faults(Split(few, "val"), [low] * 8))


def test_misplaced_images_of_the_split(tmp_path: Path) -> None:
    """The name of an archive is not that of a split: val is in trainvaltest."""
    for split in SPLITS:
        image = tmp_path / "acdc" / "rgb_anon_trainvaltest" / "rgb_anon" / "fog" / split / "a" / "a_rgb_anon.png"
        image.parent.mkdir(parents=True)
        image.touch()
    findings = check(tmp_path).findings
    assert [(each.code, f"/{each.split}/a/" in each.file) for each in findings] == [("misplaced_images", True)] * 2


def test_images_that_are_not_read(tmp_path: Path) -> None:
    home = write_own(tmp_path / "own")
    (home / "images" / "x.HEIC").touch()
    (finding,) = check(f"custom:{home}").findings
    assert (finding.code, finding.file) == ("unread_file", str(home / "images" / "x.HEIC"))


def test_before_training(gtav: Place, tmp_path: Path) -> None:
    """The check of pairs that the loader has listed; a picture of two splits is known by its name."""
    dataset = spec("gtav")

    def codes() -> list[str]:
        return [each.code for each in check_sources([(dataset, s, dataset.pairs(tmp_path, s)) for s in SPLITS])]

    assert codes() == []
    for train, val in zip(*(gtav.pairs(split)[0] for split in SPLITS), strict=True):
        shutil.copy(train, val.with_name(train.name))
    assert codes() == ["double"]
    gtav.label("train", 0).write_bytes(b"")
    assert sorted(codes()) == ["bad_label", "double"]


def test_command(gtav: Place, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "report.json"
    command = [str(tmp_path), "--json", str(file)]
    assert main([*command, "--dataset", "gtav"]) == 0
    assert "nothing wrong was found" in capsys.readouterr().out
    assert json.loads(file.read_text())["findings"] == []
    for index in range(4):
        gtav.image("train", index).write_bytes(b"")
    gtav.label("val").write_bytes(b"")
    (gtav.home / "a.zip").write_bytes(b"PK")
    assert main(command) == 1
    shown, kept = capsys.readouterr().out, json.loads(file.read_text())
    assert [each["code"] for each in kept["findings"]] == ["bad_image"] * 4 + ["bad_label", "unread_file"]
    assert [(row["split"], row["errors"]) for row in kept["splits"]] == [("train", 4), ("val", 1)]
    assert "... and 1 more" in shown and "errors: 5, notes: 1" in shown
    for finding in (*kept["findings"][:3], *kept["findings"][4:]):
        (line,) = (line for line in shown.splitlines() if f"{finding['file']}: " in line)
        assert line.startswith(finding["severity"]) and line.endswith(finding["fix"])
    with pytest.raises(UsageError, match=r"nowhere/report\.json: its folder does not exist"):
        main([*command[:-1], str(tmp_path / "nowhere" / "report.json")])
    with pytest.raises(UsageError, match="no such folder"):
        main([str(tmp_path / "nowhere")])


def test_every_code_is_explained_and_tried() -> None:
    explained = re.findall(r"^\| `(\w+)` \| (\w+) \|", DOCS.read_text(), re.MULTILINE)
    assert dict(explained) == {code: fault.severity for code, fault in FAULTS.items()}
    tried = {code for *_, codes in CASES.values() for code in codes.split()}
    assert FAULTS.keys() - tried == {"unread_folder", "unused_class"}  # which have their own tests
