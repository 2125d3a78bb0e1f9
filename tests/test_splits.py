"""How images are divided where folders do not say it: the user's lists, split.mat, or our rule."""

import zipfile
from io import BytesIO
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image
from scipy.io import savemat

from datasets.disk.layouts import Sample
from datasets.disk.splits import by_rule
from datasets.registry import SPECS, spec
from engine.options.training_command import parse_training
from utils.errors import UsageError

IDS = {"trainIds": [1, 3, 5], "valIds": [2, 4], "testIds": [6]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six images of GTAV, flat."""
    for kind in ("images", "labels"):
        folder = tmp_path / "GTAV" / kind
        folder.mkdir(parents=True)
        for number in range(1, 7):
            Image.new("L", (4, 2)).save(folder / f"{number:05d}.png")
    return tmp_path


def stems(root: Path, split: str, **options: object) -> list[str]:
    return [sample.image.stem for sample in spec("gtav", **options).pairs(root, split)]


def write_list(folder: Path, split: str, *numbers: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"gtav_split_{split}.txt"
    path.write_text("".join(f"{number:05d}.png\n" for number in numbers))
    return path


def split_mat(numbers: dict[str, list[int]]) -> bytes:
    content = BytesIO()
    savemat(content, numbers)
    return content.getvalue()


@pytest.mark.parametrize("place", ["split.mat", "read_mapping/split.mat", "read_mapping.zip"])
def test_split_mat(root: Path, place: str) -> None:
    path, content = root / "GTAV" / place, split_mat(IDS)
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("read_mapping/split.mat", content)
    else:
        path.write_bytes(content)
    pairs = spec("gtav").pairs(root, "train")
    assert [sample.name for sample in pairs] == ["00001", "00003", "00005"]
    assert pairs.split_by == path.name and not pairs.notes
    assert stems(root, "val") == ["00002", "00004"] and stems(root, "test") == ["00006"]


@pytest.mark.parametrize("content", [b"", b"nonsense", split_mat({"valIds": [1]}), split_mat(IDS)[:-9]])
@pytest.mark.parametrize("place", ["split.mat", "read_mapping.zip"])
def test_a_broken_split_mat_is_refused_in_one_line(root: Path, place: str, content: bytes) -> None:
    (root / "GTAV" / place).write_bytes(content)
    with pytest.raises(UsageError, match=rf"{place}: [^\n]*(fetch it again), or give --split_file$"):
        stems(root, "train")


def test_lists_go_before_everything(root: Path) -> None:
    (root / "GTAV" / "split.mat").write_bytes(split_mat(IDS))
    folder = root / "split_data"
    write_list(folder, "train", 6, 5)
    val = write_list(folder, "val", 1)
    val.rename(val.with_name("gtav_valid.txt"))
    lists = {"split_files": [folder]}
    assert stems(root, "train", **lists) == ["00005", "00006"] and stems(root, "val", **lists) == ["00001"]
    assert spec("gtav", **lists).pairs(root, "train").split_by == "the list gtav_split_train.txt"
    assert not spec("synthia", **lists).lists


def test_lists_divide_folders_anew(root: Path) -> None:
    home = root / "GTAV"
    for path in list(home.glob("*/*.png")):
        target = path.parent / ("train" if int(path.stem) < 4 else "valid")
        target.mkdir(exist_ok=True)
        path.rename(target / path.name)
    path = write_list(root / "lists", "train", 1, 5)
    assert stems(root, "train", split_files=[path]) == ["00001", "00005"]
    assert stems(root, "train") == ["00001", "00002", "00003"]


def test_wrong_lists_are_refused(root: Path) -> None:
    folder = root / "lists"
    train = write_list(folder, "train", 1, 2)
    absent, twice = write_list(root / "a", "train", 1, 77), write_list(root / "b", "test", 2)
    for split, message, paths in (
        ("val", r"no list of gtav val: add gtav_split_val\.txt", [train]),
        ("train", r"1 of the 2 images of gtav train are not there: 00077\.png", [absent]),
        ("test", r"00002\.png is also in .*gtav_split_train\.txt", [train, twice]),
    ):
        with pytest.raises(UsageError, match=message):
            stems(root, split, split_files=paths)
    (root / "empty").mkdir()
    (root / "names.txt").write_text("")
    (folder / "cityscapes_split_val.txt").write_text("a.png\n")
    for path, message in {
        root / "empty": "no list there", root / "names.txt": "no list there", folder: "not for cityscapes",
        root / "gtav_train.txt": "no list there",
    }.items():  # fmt: skip
        with pytest.raises(UsageError, match=message):
            stems(root, "train", split_files=[path])
    with pytest.raises(UsageError, match=r"is a list of gtav train already"):
        spec("gtav", split_files=[train, write_list(root / "c", "train", 3)])


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("gtav", {"train": 12387, "val": 6381, "test": 6181}),  # without the two broken images
        ("synthia", {"train": 6580, "val": 2820}),
        ("urbansyn", {"train": 7039, "val": 500}),
    ],
)
def test_our_rule_has_the_published_sizes(name: str, sizes: dict[str, int]) -> None:
    def divided(samples: list[Sample], split: str) -> list[Sample]:
        return by_rule(name, samples, split, SPECS[name].counts, everything, missing="").samples

    everything = SPECS[name].numbered()
    samples = [Sample(Path(f"{stem}.png"), Path(), stem) for stem in everything]
    parts = {split: divided(samples, split) for split in sizes}
    assert {split: len(part) for split, part in parts.items()} == sizes
    assert sorted(chain.from_iterable(parts.values())) == sorted(samples)  # each image in one split
    few = divided(samples[::7], "val")
    assert few == [sample for sample in parts["val"] if sample in samples[::7]]  # whatever other images are there
    if name == "synthia":  # a change would change the training images of everybody who uses the rule
        assert [int(sample.name) for sample in parts["val"][:11]] == [8, 11, 13, 15, 18, 23, 24, 30, 33, 36, 39]


def test_our_rule_comes_with_a_warning(root: Path) -> None:
    (note,) = spec("gtav").pairs(root, "train").notes
    assert note.startswith("gtav: no --split_file and no split.mat, so") and "cannot be compared" in note


def test_split_file_is_kept_as_absolute_paths(tmp_path: Path) -> None:
    data = parse_training(["--split_file", "a", str(tmp_path), "--dataset", "gtav"]).data
    assert data.split_files == (str(Path("a").absolute()), str(tmp_path))
