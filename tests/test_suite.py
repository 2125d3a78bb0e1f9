"""``eval.py --suite`` and ``--runs``: one table of domains, ways of inference, checkpoints and runs."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import eval as evaluation
from datasets.corruptions import SEEDED, corrupted
from datasets.demo import write_demo
from datasets.options import DataOptions
from engine.data_report import role_of
from engine.evaluating import assessment
from engine.options.suite_options import domains_on_disk
from support.snapshots import write_snapshot
from tools import compare
from utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("thin_resnet")
WAYS = {"whole": "whole", "half size": "pooling_0.5", "two scales": "pooling_0.5,1.0", "sliding": "sliding_1.0_flip"}


def flags(data: Path, *more: str | Path) -> list[str]:
    line = f"--data_root {data} --device cpu --num_workers 0 --mapillary_crop 0 --crop_size 64 --no_check"
    return [*line.split(), *map(str, more)]


def write_run(folder: Path, seed: int, *, best: bool = True) -> Path:
    """The folder of a run on GTAV and SYNTHIA with two checkpoints, which differ in their memory's switch."""
    folder.mkdir(parents=True)
    trained = {"dataset": ["gtav", "synthia"], "seed": seed, "max_iter": 2, "decay_horizon": 2}
    for name in ("last", "best") if best else ("last",):
        write_snapshot(folder / f"{name}.pth", memory=name == "last", flags=trained)
    if not best:
        (folder / "best.pth").hardlink_to(folder / "last.pth")
    (folder / "flags.json").write_text(json.dumps({"flags": trained}))
    return folder


def results_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def scored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("suite") / "run", 304)
    evaluation.main(flags(data, "--snapshot", run / "last.pth", "--suite", "dg"))
    return run


def test_the_table_has_all_domains_ways_and_checkpoints(scored: Path, data: Path) -> None:
    (run,) = json.loads((scored / "suite_dg" / "runs.json").read_text())["runs"]
    assert run["roles"] == {"gtav": "seen", "synthia": "seen", "mapillary": "unseen"}
    assert list(run["rows"]) == [f"{name}, {way}" for name in ("last", "best") for way in WAYS]
    for name in ("last", "best"):
        for way, tag in WAYS.items():
            row, domains = run["rows"][f"{name}, {way}"], results_of(scored / "suite_dg" / name / tag)["domains"]
            assert row["mean"] == row["worst"] == row["mapillary"] == domains["mapillary"]["mean_iou"]
            assert row["gtav"] == domains["gtav"]["mean_iou"] and len(domains["gtav"]["classes"]) == 19
    table = (scored / "suite_dg" / "table.md").read_text().splitlines()
    assert table[0] == "| checkpoint, way | gtav (seen) | synthia (seen) | mapillary | mean | worst |"
    assert table[2].startswith("| last, whole |") and table[2].endswith("(mapillary) |") and len(table) == 12
    assert "best, whole" in (scored / "suite_dg" / "best" / "whole" / "report.html").read_text()
    evaluation.main(flags(data, "--snapshot", scored / "last.pth", "--dataset", "gtav"))
    alone, cell = results_of(scored / "last" / "whole"), results_of(scored / "suite_dg" / "last" / "whole")
    assert alone["domains"]["gtav"] == cell["domains"]["gtav"]


def count_scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done, score = [], assessment.score_domain

    def counted(predict: object, options: object, images: object, *rest: object, **more: object) -> tuple:
        done.append(images.spec.name)
        return score(predict, options, images, *rest, **more)

    monkeypatch.setattr(assessment, "score_domain", counted)
    return done


def test_what_is_scored_is_not_scored_again(
    scored: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(scored, tmp_path / "run")
    command, done = flags(data, "--snapshot", run / "best.pth", "--suite", "dg"), count_scored(monkeypatch)
    evaluation.main(command)
    assert not done and not list(run.rglob("results_1.json"))
    cell = run / "suite_dg" / "best" / "pooling_0.5"
    before = results_of(cell)
    fewer = before | {"domains": {name: before["domains"][name] for name in ("gtav", "synthia")}}
    (cell / "results.json").write_text(json.dumps(fewer))  # as after an interruption
    evaluation.main(command)
    assert done == ["mapillary"] and results_of(cell)["domains"] == before["domains"]
    write_snapshot(run / "best.pth", memory=True, flags=before["trained"]["flags"])  # the training went on
    evaluation.main([*command, "--dataset", "mapillary"])
    assert done == ["mapillary"] * 5 and (cell / "results_1.json").is_file()
    evaluation.main([*command, "--dataset", "gtav", "--calibration"])
    assert done[5:] == ["gtav"] * 8
    assert " ECE |" in (run / "suite_dg" / "table.md").read_text()


def test_acdc_counts_by_its_conditions(tmp_path: Path) -> None:
    write_demo(tmp_path, domains=["acdc"], train=1, val=2, size=(32, 64), workers=1)
    assert domains_on_disk(DataOptions(tmp_path), "val") == ("acdc_fog", "acdc_night")  # the others have no images
    roles = [role_of(["acdc_fog"], sources) for sources in (["acdc_fog"], ["acdc"], ["acdc_night"], None)]
    assert roles == ["seen", "seen", "unseen", "not known"]
    with pytest.raises(UsageError, match="no data set with images of test here"):
        domains_on_disk(DataOptions(tmp_path / "none"), "test")


def test_runs_of_several_seeds(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for seed in (1, 2, 3):
        write_run(tmp_path / "two" / f"seed_{seed}" / "2026-01-01", seed, best=False)
    command = flags(data, "--runs", tmp_path / "two", "--dataset", "gtav", "mapillary")
    evaluation.main(command)
    listed = json.loads((tmp_path / "two" / "whole" / "runs.json").read_text())["runs"]
    assert [run["seed"] for run in listed] == [1, 2, 3]
    assert list(listed[0]["rows"]) == ["last, whole"]
    assert "means of 3 runs, ±" in capsys.readouterr().out
    last = tmp_path / "two" / "seed_3" / "2026-01-01" / "last.pth"
    (last.parent / "best.pth").unlink()
    write_snapshot(last, memory=False, iteration=1, flags={"dataset": ["gtav", "synthia"], "seed": 3})
    evaluation.main(command)
    assert "--runs: not all are trained equally long (" in capsys.readouterr().err
    (last.parent / "best.pth").hardlink_to(last)
    evaluation.main([*command[:-2], "mapillary", "--suite", "dg"])
    listed = json.loads((tmp_path / "two" / "suite_dg" / "runs.json").read_text())["runs"]
    for run in listed:  # the best checkpoint is the last one
        assert run["rows"]["best, sliding"] == run["rows"]["last, sliding"]
    with pytest.raises(UsageError, match="their seeds are 1, 1; give runs of different seeds"):
        evaluation.main(flags(data, *["--runs", *[tmp_path / "two" / "seed_1" / "2026-01-01"] * 2]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--runs {tmp}", "--runs .*: no last.pth in it or in its seed_"),
        ("--runs {run} --snapshot x.pth", "--runs and --snapshot exclude each other"),
        ("--snapshot {run}/last.pth --corruptions", "--corruptions changes nothing without --suite dg"),
        ("--snapshot {run}/last.pth --suite dg --inference_mode sliding", "--suite and --inference_mode exclude"),
        ("--runs {run} --target_norm 2", "--runs and --target_norm exclude each other"),
        ("--snapshot {run}/last.pth --suite dg --dataset gtav", "results.json: cannot be used"),
    ],
)
def test_mistakes(line: str, message: str, data: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 304)
    broken = run / "suite_dg" / "last" / "whole"
    broken.mkdir(parents=True)
    (broken / "results.json").write_text("{")
    with pytest.raises(UsageError, match=message):
        evaluation.main(flags(data, *line.format(tmp=tmp_path, run=run).split()))


# Corruptions


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in with two corruptions: one draws NumPy's random numbers, one has a seed of its own."""

    def corrupt(image: np.ndarray, severity: int, name: str, seed: int | None = None) -> np.ndarray:
        rng = np.random if seed is None else np.random.default_rng(seed)
        return np.uint8(np.clip(image + rng.normal(size=image.shape, scale=20 * severity), 0, 255))

    module = ModuleType("imagecorruptions")
    module.corrupt, module.get_corruption_names = corrupt, lambda: ["shot_noise", "glass_blur"]
    monkeypatch.setitem(sys.modules, "imagecorruptions", module)
    return module


def test_corruptions_are_ways_of_their_own(package: ModuleType, data: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 304, best=False)
    command = flags(data, "--snapshot", run / "last.pth", "--suite", "dg", "--corruptions", "--dataset", "gtav")
    evaluation.main(command)
    (entry,) = json.loads((run / "suite_dg" / "runs.json").read_text())["runs"]
    noise, glass = (entry["rows"][f"last, {name}"]["gtav"] for name in ("shot_noise", "glass_blur"))
    assert entry["rows"]["last, mean of 2 corruptions"]["gtav"] == pytest.approx((noise + glass) / 2)
    assert noise != entry["rows"]["last, whole"]["gtav"]
    (result,) = results_of(run / "suite_dg" / "last" / "whole_shot_noise")["domains"].values()
    assert result["protocol"]["corruption"] == "shot_noise, severity 3"
    evaluation.main([*command, "--limit", "1", "--out", str(tmp_path / "again")])
    details = [json.loads((folder / "last/whole_glass_blur/details.json").read_text())["gtav"]["images"]
               for folder in (run / "suite_dg", tmp_path / "again")]  # fmt: skip
    assert details[1].items() < details[0].items()  # an image is corrupted in the same way beside others


def test_corruptions_need_their_package(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    run, done = write_run(tmp_path / "run", 304), count_scored(monkeypatch)
    with pytest.raises(UsageError, match="--corruptions: the package imagecorruptions cannot be loaded"):
        evaluation.main(flags(data, "--snapshot", run / "last.pth", "--suite", "dg", "--corruptions"))
    assert not done


@pytest.mark.parametrize("size", [(64, 128), (90, 61)])
def test_the_package_repeats_itself(size: tuple[int, int]) -> None:
    names = pytest.importorskip("imagecorruptions").get_corruption_names()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    assert len(names) == 15
    for name in names:
        one, same, other = (np.asarray(corrupted(image, name, stem)) for stem in ("a", "a", "b"))
        assert one.shape == (*size, 3) and (one == same).all() and (one != np.asarray(image)).any(), name
        if name in SEEDED:
            assert (one != other).any(), name


# Families


def write_family(folder: Path, scores: dict[int, float]) -> Path:
    folder.mkdir()
    runs = [
        {"run": "", "seed": seed, "roles": {"city": "unseen"}, "rows": {"last, whole": {"city": score, "mean": score}}}
        for seed, score in scores.items()
    ]
    (folder / "runs.json").write_text(json.dumps({"runs": runs}))
    return folder


def test_differences_are_paired_by_seed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one = write_family(tmp_path / "one", {1: 0.3, 2: 0.4, 3: 0.5})
    other = write_family(tmp_path / "other", {2: 0.42, 3: 0.53, 4: 0.1, 1: 0.31})
    compare.main([f"A={one}", f"B={other}"])
    margin = 4.302653 * 10 / 3**0.5  # of Student's t with two degrees of freedom, from a table
    paired = 4.302653 * 1 / 3**0.5
    line = capsys.readouterr().out.splitlines()[2]
    assert line.startswith(f"| last, whole | city | 40.0 ± {margin:.1f} | 34.0 ± ")
    assert line.endswith(f"| +2.0 ± {paired:.1f} (3 pairs) |")
    with pytest.raises(UsageError, match="C: has no seed of A"):
        compare.main([f"A={one}", f"C={write_family(tmp_path / 'third', {5: 0.1})}"])
    with pytest.raises(UsageError, match=r"runs\.json: cannot be used"):
        compare.main([f"A={one}", f"B={tmp_path}"])
