"""``benchmarks.generalise``: runs in a queue that goes on where it was stopped, and the statistics of its table."""

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import generalise, studies, study_run, study_table
from benchmarks.studies import Row, Way
from datasets.demo import write_demo
from utils.errors import UsageError
from utils.metrics import ConfusionMatrix

ROOT = Path(__file__).parent.parent
TINY = (
    "--arch DeepR18V3PlusD --decoder_dim 16 --mem_dim 16 --pretrained_backbone none --crop_size 64 --bs_mult 2 "
    "--val_images 1 --mem_init_batches 1 --num_workers 0 --no_check --mapillary_crop 0 --device cpu"
)


def line(seed: int, counts: np.ndarray) -> dict:
    packed, miou = study_table.pack(counts), study_table.mean_iou(counts)
    scores = {"seen": 0.5, "unseen": miou}
    curve = [[1, "seen", "seen", 0.5], [1, "unseen", "unseen", 0.9], [2, "unseen", "unseen", 0.7]]
    checkpoints = {"last": scores, "best": scores}
    return {"row": "x", "way": "w", "seed": seed, "miou": checkpoints, "counts": {"unseen": packed}, "curve": curve}


def counts_of(rng: np.random.Generator, accuracy: float) -> np.ndarray:
    """Ten images of three classes with this share of right pixels."""
    labelled = rng.integers(50, 100, size=(10, 3))
    hits = rng.binomial(labelled, accuracy)
    return np.stack([hits, labelled, labelled], axis=1)


def test_the_mean_iou_of_counts_is_that_of_the_confusion_matrix() -> None:
    labels, predictions = torch.randint(0, 4, (2, 5, 20, 30))
    whole, rows = ConfusionMatrix(6), []
    for label, prediction in zip(labels, predictions, strict=True):
        one = ConfusionMatrix(6)  # two classes never occur
        one.update(label, prediction)
        whole.update(label, prediction)
        rows.append(torch.stack([one.counts.diag(), one.counts.sum(1), one.counts.sum(0)]).numpy())
    counts = study_table.unpack(study_table.pack(np.stack(rows)))
    assert study_table.mean_iou(counts) == pytest.approx(whole.scores().mean_iou)


def test_intervals_cover_the_difference_of_pairs_and_no_difference_of_equal_runs() -> None:
    rng = np.random.default_rng(0)
    runs = {("w", seed): line(seed, counts_of(rng, 0.8)) for seed in range(5)}
    others = {("w", seed): line(seed, counts_of(rng, 0.6)) for seed in range(5)}
    pairs, mean, low, high = study_table.difference(runs, others)
    assert pairs == 5 and 0 < low < mean < high
    # With a single picture, the interval is Student's t over the pairs alone: 2.776445 for four degrees of freedom.
    one, other = ({("w", seed): line(seed, counts_of(rng, share)[:1]) for seed in range(5)} for share in (0.8, 0.6))
    each = [100 * (one[key]["miou"]["last"]["unseen"] - other[key]["miou"]["last"]["unseen"]) for key in one]
    _, mean, low, high = study_table.difference(one, other)
    assert high - mean == pytest.approx(mean - low) == pytest.approx(2.776445 * stdev(each) / 5**0.5)
    assert study_table.difference(runs, runs)[1:] == (0, 0, 0)
    assert study_table.difference(runs, {("w", 0): others["w", 0]}) is None
    gain = study_table.oracle(runs["w", 0]) - study_table.mean_of(runs["w", 0], "unseen", "last")
    assert gain == pytest.approx(0.2)  # of the first validation over the last one


def draw(root: Path, real: Path) -> None:
    write_demo(root, domains=["gtav", "synthia", "idd"], train=2, val=1, size=(64, 128), workers=1)


def test_a_queue_runs_each_job_once_and_the_table_shows_it(tmp_path: Path, monkeypatch, capsys) -> None:
    setting = studies.Setting(draw, TINY, "{name}", {"way": Way(("gtav", "synthia"), ("idd",))})
    rows = {"baseline": Row(), "PinMem": Row(studies.PINMEM)}
    monkeypatch.setitem(studies.SETTINGS, "demo", setting)
    monkeypatch.setitem(studies.STUDIES, "diagnosis", rows)

    def in_this_process(jobs, *places, workers):
        yield from ((job, study_run.run(job, tmp_path / f"{job.row} {job.seed}", *places)) for job in jobs)

    monkeypatch.setattr(generalise, "finished", in_this_process)
    results = tmp_path / "results.jsonl"
    command = ["demo", "diagnosis", "--iterations", "2", "--results", str(results), "--work", str(tmp_path)]
    generalise.main([*command, "--seeds", "0"])
    first = results.read_text()
    generalise.main([*command, "--seeds", "0", "1"])
    lines = [json.loads(text) for text in results.read_text().splitlines()]
    assert results.read_text().startswith(first)
    assert [(each["row"], each["seed"]) for each in lines] == [(row, seed) for seed in (0, 1) for row in rows]
    study_table.main([str(results), "--figure", str(tmp_path / "rows.png")])
    assert "| PinMem | 2 |" in capsys.readouterr().out
    study_table.main([str(results), "--seeds", "1", "--against", "baseline", "PinMem"])
    table = capsys.readouterr().out
    assert "| PinMem | 1 |" in table and "unseen - baseline [95 %] | unseen - PinMem [95 %]" in table
    results.write_text("".join(json.dumps(line) + "\n" for line in (*lines, lines[1] | {"seed": 2})))
    study_table.main([str(results)])
    assert re.search(r"\| PinMem \| 3 \|.+\] \(2 pairs\) \|", capsys.readouterr().out)
    study_table.main([str(results), "--by_class"])
    baseline = [float(text) for text in capsys.readouterr().out.splitlines()[2].split(" | ")[2:-1]]
    means = [study_table.mean_of(line, "unseen", "last") for line in lines if line["row"] == "baseline"]
    assert sum(baseline) / 19 == pytest.approx(100 * sum(means) / len(means), abs=0.1)
    longer = [line | {"iterations": 4, "row": row} for line in lines for row in (line["row"], "of another study")]
    results.write_text("".join(json.dumps(line) + "\n" for line in longer + lines))
    study_table.main([str(results), "--study", "diagnosis", "--figure", str(tmp_path / "lengths.png")])
    table = [text.split(" | ")[:2] for text in capsys.readouterr().out.splitlines()]
    assert table[2:] == [[f"| {row}, {length} iterations", "2"] for row in rows for length in (2, 4)]
    assert all(Image.open(tmp_path / name).width > 500 for name in ("rows.png", "lengths.png"))
    with pytest.raises(UsageError, match=r"line 2 is no finished run .* delete this line"):
        results.write_text(json.dumps(lines[0]) + "\n" + json.dumps(lines[1])[:50])
        generalise.main([*command, "--seeds", "0"])
    with pytest.raises(UsageError, match="no row has two runs"):
        results.write_text(json.dumps(lines[0]) + "\n")
        study_table.main([str(results), "--figure", str(tmp_path / "none.png")])
    with pytest.raises(UsageError, match="demo and mini have no common mean"):
        results.write_text("".join(json.dumps(line) + "\n" for line in (lines[0], lines[0] | {"setting": "mini"})))
        study_table.main([str(results)])


def test_the_tables_of_the_results_are_those_of_their_lines(monkeypatch, capsys) -> None:
    """Above each table stands its command; after new runs, the same command makes the new table."""
    monkeypatch.chdir(ROOT)
    page = Path("docs/results.md").read_text("utf-8")
    tables = re.findall(r"<!-- python -m benchmarks.study_table (.+) -->\n\n((?:\|.+\n)+)", page)
    assert len(tables) == page.count("<!-- python") > 5
    for command, table in tables:
        study_table.main(shlex.split(command.partition(" --figure")[0]))
        assert capsys.readouterr().out == table


def test_a_file_of_weights_may_have_a_space_in_its_name() -> None:
    job = studies.Job("mini", "to_camvid", "baseline", "", (), (1.0,), 1, 0)
    assert "my weights" in study_run.command(job, Path("data"), Path("my weights"))


def test_no_row_sets_a_look_ahead_that_another_flag_overrides() -> None:
    flags = [row.flags for study in studies.STUDIES.values() for row in study.values()]
    assert not [line for line in flags if "--inner_lr " in line and "--inner_lr_anneal" in line]


def test_without_the_real_pictures_nothing_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--real .*: has no weights/resnet18"):
        generalise.main(["mini", "recipes", "--real", str(tmp_path), "--work", str(tmp_path / "work")])
    assert not (tmp_path / "work").exists()


def begin_programs(tmp_path: Path, monkeypatch, code: str) -> None:
    """Let each Python program run this at its start; ``argv`` is its command line."""
    (tmp_path / "sitecustomize.py").write_text(f"import os, sys, time\nargv = str(sys.orig_argv)\n{code}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_runs_are_programs_and_one_that_fails_says_why(tmp_path: Path, monkeypatch, capsys) -> None:
    def draw_four(root: Path, real: Path) -> None:
        write_demo(root, domains=["gtav", "synthia", "idd", "cityscapes"], train=2, val=1, size=(128, 256), workers=1)

    monkeypatch.setitem(studies.SETTINGS, "demo", studies.SETTINGS["demo"]._replace(draw=draw_four))
    rows = {"baseline": Row(), "wrong": Row("--no_such_flag"), "killed": Row(variants=("killed",))}
    monkeypatch.setitem(studies.STUDIES, "diagnosis", rows)
    begin_programs(tmp_path, monkeypatch, "if 'killed' in argv: os.kill(os.getpid(), 9)")
    results = tmp_path / "results.jsonl"
    command = ["demo", "diagnosis", "--iterations", "1", "--results", str(results), "--work", str(tmp_path)]
    with pytest.raises(UsageError, match="2 of 3 runs failed"):
        generalise.main([*command, "--seeds", "0"])
    said = capsys.readouterr().out
    assert re.search("wrong, seed 0: .*--no_such_flag", said) and "killed, seed 0: ended with code -9" in said
    assert [json.loads(text)["row"] for text in results.read_text().splitlines()] == ["baseline"]


def test_a_queue_that_ends_early_ends_its_runs(tmp_path: Path, monkeypatch) -> None:
    begin_programs(
        tmp_path, monkeypatch, "if 'study_run' in argv: 'waits' in argv and time.sleep(600); sys.exit('failed')"
    )
    rows = ("fails", "waits", "waits too")
    jobs = [studies.Job("demo", "GS", row, "--no_such_flag", (), (1.0,), 1, 0) for row in rows]
    ended, start = generalise.finished(jobs, tmp_path, tmp_path, workers=2), time.monotonic()
    assert next(ended)[0].row == "fails"
    ended.close()
    assert time.monotonic() - start < 100


@pytest.mark.slow
def test_every_variant_trains(tmp_path: Path) -> None:
    """Each in a process of its own, since variants patch classes."""
    draw(tmp_path, tmp_path)
    code = """
import os, sys
from pathlib import Path
import torch
from benchmarks import studies, study_run, variants
root, tiny = Path(sys.argv[1]), sys.argv[2]
way = studies.Way(("gtav", "synthia"), ("idd",))
studies.SETTINGS["demo"] = studies.Setting(None, tiny, "{name}", {"way": way})
used = {name for study in studies.STUDIES.values() for row in study.values() for name in row.variants}
assert used == variants.VARIANTS.keys(), used ^ variants.VARIANTS.keys()
for name in variants.VARIANTS:
    if os.fork():
        assert os.wait()[1] == 0, name
    else:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        job = studies.Job("demo", "way", name, studies.PINMEM + " --mem_residual", (name,), (1.0,), 2, 0)
        study_run.run(job, root / "runs", root, root)
        os._exit(0)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path), TINY], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
