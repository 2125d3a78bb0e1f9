"""report.html: what it shows, also in a browser; which numbers may be compared; a failure costs no run."""

import json
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch

import eval as evaluation
import train
from engine.evaluating.image_scores import ImageScore, details
from engine.report import page
from engine.report.charts import Series, lines
from engine.report.comparing import PAPER, paper_scores
from engine.report.records import Record, log_rows, read_record, roles_in
from support.programs import exit_code
from tools import report
from utils.errors import UsageError

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
QUIET += "--disable-component-update --disable-sync --enable-logging=stderr --v=0 --virtual-time-budget=3000 --dump-dom"
PROBE = """
<script>
addEventListener("load", () => {
  const all = (selector, take) => [...document.querySelectorAll(selector)].map(take);
  const slider = document.querySelector(".compare input");
  slider.value = 20;
  slider.dispatchEvent(new Event("input"));
  document.querySelectorAll(".example button")[1].click();
  const cells = (row) => [...row.querySelectorAll("th, td")].map((cell) => cell.textContent.trim());
  setTimeout(() => {
    const seen = {
      broken: all("img", (image) => image.complete && image.naturalWidth > 0 ? "" : image.alt).filter(Boolean),
      images: document.images.length,
      uncovered: getComputedStyle(document.querySelector(".over-layer")).clipPath,
      layer: document.querySelector(".over-layer img").src === document.querySelectorAll(".example button img")[1].src,
      requests: performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:")).length,
      wide: document.documentElement.scrollWidth - innerWidth,
      hidden: all(".bar span", (each) => each.getBoundingClientRect().right - innerWidth).filter((x) => x > 0),
      charts: all("svg.chart", (svg) => svg.getAttribute("aria-label")),
      scores: all("tr[data-domain]", cells),
      classes: Object.fromEntries(all("[data-classes]", (each) => [each.dataset.classes, [...each.rows].map(cells)])),
    };
    document.body.innerHTML = "<pre>" + btoa(encodeURIComponent(JSON.stringify(seen))) + "</pre>";
  }, 500);
});
</script>
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path, thin_resnet: None) -> Path:
    """A run of three iterations with its evaluation on three domains."""
    home = tmp_path_factory.mktemp("report")
    line = f"--data_root {data} --dataset gtav synthia --val_dataset mapillary --arch DeepR18V3PlusD --lr 0.001 "
    line += "--pretrained_backbone none --crop_size 64 --bs_mult 2 --max_iter 3 --log_interval 1 --val_interval 2 "
    line += "--val_images 1 --mem_init_batches 1 --mapillary_crop 0 --device cpu --num_workers 0 --exp <b>odd "
    train.main([*line.split(), "--method", "pinmem", "--exp_root", str(home)])
    (checkpoint,) = home.rglob("last.pth")
    evaluate(checkpoint, data)
    return checkpoint.parent


def evaluate(checkpoint: Path, data: Path, *flags: str) -> None:
    line = f"--snapshot {checkpoint} --dataset gtav synthia mapillary --mapillary_crop 0 --device cpu --num_workers 0"
    evaluation.main([*line.split(), "--data_root", str(data), *flags])


# In a browser


def look_at(path: Path, folder: Path, *, width: int = 390) -> dict[str, Any]:
    """What a browser makes of the page: pictures, numbers, requests.  Fails if it complains about anything."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    probe = folder / "probe.html"
    probe.write_text(path.read_text().replace("</body>", f"{PROBE}</body>"))
    command = [CHROMIUM, *QUIET.split(), f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
    done = subprocess.run([*command, probe.as_uri()], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    (seen,) = re.findall("<pre>(.+)</pre>", done.stdout)
    return json.loads(unquote(b64decode(seen).decode()))


def test_in_a_browser(run: Path, tmp_path: Path) -> None:
    seen = look_at(run / "last/whole/report.html", tmp_path)
    assert seen["broken"] == [] and seen["requests"] == 0 and seen["wide"] <= 0
    assert seen["images"] == 3 * 2 * 5  # two images of each domain: picture, layer and three small ones
    assert seen["uncovered"] == "inset(0px 0px 0px 20%)" and seen["layer"]
    results = json.loads((run / "last/whole/results.json").read_text())["domains"]
    shown = {row[0]: row[1:] for row in seen["scores"] if row[0] != "mean"}
    assert list(shown) == ["gtav", "synthia", "mapillary"]
    for name, domain in results.items():
        numbers = [domain[key] for key in ("mean_iou", "mean_iou_frequent", "accuracy")]
        assert shown[name] == [f"{100 * number:.1f}" for number in numbers]
        for (title, share, iou), row in zip(seen["classes"][name][1:], domain["classes"].items(), strict=True):
            assert (title, share) == (row[0], percent(row[1]["share"])) and iou == percent(row[1]["iou"])
    means = [row[1] for row in seen["scores"] if row[0] == "mean"]
    assert means == [percent((results["gtav"]["mean_iou"] + results["synthia"]["mean_iou"]) / 2)]
    rows = list(log_rows(run / "metrics.jsonl"))
    losses = {key.rpartition("/")[2] for row in rows if row["kind"] == "train" for key in row} - {"kind", "iteration"}
    assert len(seen["charts"]) == len(losses) + 6 + 1


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def test_page_of_a_training(run: Path) -> None:
    """It ends with the page of its last validation; names are text, not markup."""
    text = (run / "report.html").read_text()
    assert "in the last validation of the training" in text and "the run has not been evaluated yet" in text
    assert "&lt;b&gt;odd" in text and "<b>odd" not in text
    rows = [row for row in log_rows(run / "metrics.jsonl") if row["kind"] == "validation"]
    assert [row["iteration"] for row in rows] == [2, 2, 2, 3, 3, 3]
    for row in rows[3:]:
        (line,) = re.findall(rf'<tr data-domain="{row["domain"]}" data-role="{row["role"]}">.*?</tr>', text, re.DOTALL)
        assert f"<span>{percent(row['mean_iou'])}</span>" in line
    assert not re.findall(r'(?:src|href)="(?!data:|#)|url\((?!#)|@import', text)


# Several runs


def test_side_by_side(run: Path, data: Path, tmp_path: Path) -> None:
    page_of = ["--out", str(tmp_path / "page.html")]
    report.main([str(run), str(run / "last/whole/results.json"), *page_of])
    text = (tmp_path / "page.html").read_text()
    assert "all runs were scored by the same protocol" in text and "not comparable" not in text
    less = tmp_path / "less"
    evaluate(run / "last.pth", data, "--dataset", "gtav", "--limit", "1", "--out", str(less), "--exp", "less")
    report.main([str(less), str(run), *page_of])
    text = (tmp_path / "page.html").read_text()
    assert "These scores are not comparable" in text and "gtav: images" in text and "gtav: scales" not in text
    assert len(text) < page.LIMIT


def test_long_names_hide_no_numbers(run: Path, tmp_path: Path) -> None:
    """Nor is there a table of classes for a domain that was only validated."""
    record = replace(read_record(run / "last/whole/results.json"), name="name_" * 40)
    training = replace(record, evaluation=None, results={}, details={})
    domains = {"gtav": record.results["domains"]["gtav"]}
    results = json.loads(json.dumps({**record.results, "domains": domains}).replace('"traffic light"', f'"{"x" * 90}"'))
    page.write_report([replace(record, results=results), training], tmp_path / "a.html")
    seen = look_at(tmp_path / "a.html", tmp_path)
    assert seen["hidden"] == [] and seen["wide"] <= 0 and list(seen["classes"]) == ["gtav"]


@pytest.mark.parametrize(
    ("source", "domain", "data_set", "role"),
    [
        ("bdd100k", "bdd100k_night", "bdd100k_night", "seen"),
        ("bdd100k_rainy_night", "bdd100k_night", "bdd100k_night", "seen"),
        ("acdc_fog", "acdc_night", "acdc_night", "unseen"),
        ("cityscapes", "cityscapes_campus", "custom:/a/cityscapes_campus", "unseen"),
        ("campus", "campus", "custom:/a/campus", "seen"),
    ],
)
def test_seen_in_training(source: str, domain: str, data_set: str, role: str) -> None:
    scored = {domain: {"protocol": {"data_set": data_set}}}
    assert roles_in({"trained": {"flags": {"dataset": [source]}}, "domains": scored}) == {domain: role}


def test_broken_pictures(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "last/whole", tmp_path / "copy")
    record, stem = read_record(tmp_path / "copy"), tmp_path / "copy/examples/gtav/best"
    Path(f"{stem}_prediction.png").write_bytes(Path(f"{stem}_prediction.png").read_bytes()[:60])
    with pytest.raises(UsageError, match=r"best_prediction\.png: not a readable picture"):
        page.write_report([record], tmp_path / "page.html")
    Path(f"{stem}_image.png").unlink()
    page.write_report([record], tmp_path / "page.html")


def test_pictures_shrink_to_the_limit(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [read_record(run)] * 2
    page.write_report(records, tmp_path / "large.html")
    monkeypatch.setattr(page, "LIMIT", (tmp_path / "large.html").stat().st_size)
    monkeypatch.setattr(page, "WIDTHS", (640, 20))
    page.write_report(records, tmp_path / "small.html")
    assert (tmp_path / "small.html").stat().st_size < page.LIMIT
    monkeypatch.setattr(page, "WIDTHS", (640,))
    with pytest.raises(UsageError, match="name fewer runs"):
        page.write_report(records, tmp_path / "none.html")


# The paper


def test_page_with_the_papers_numbers(tmp_path: Path) -> None:
    record = full_record()
    (tmp_path / "flags.json").write_text(json.dumps(record.facts))
    (tmp_path / "results.json").write_text(json.dumps({"snapshot": str(tmp_path / "last.pth"), **record.results}))
    for runs, column in ((1, True), (2, False)):
        report.main([*[str(tmp_path)] * runs, "--out", str(tmp_path / "page.html")])
        text = (tmp_path / "page.html").read_text()
        assert text.count("mapillary 42.7, for the same network") == runs and "No comparison" not in text
        assert ('<th class="num">paper</th>' in text and '<td class="num">41.8</td>' in text) == column


def full_record(**changes: Any) -> Record:
    """A record of Pin the Memory by the paper's protocol, but for ``changes``, which are paths like flags__dataset."""
    flags = {"dataset": ["gtav", "synthia"], "method": "pinmem"}
    used = {"gtav": {"images": 12388}, "synthia": {"images": 6580}}
    protocol = {"split": "val", "mode": "whole", "scales": [1.0], "flip": False}
    square = "height 1536, centre crop 1536x1536, padding road"
    counts = {"cityscapes": 500, "bdd100k": 1000, "mapillary": 2000}
    domains = {
        name: {
            "mean_iou": 0.4,
            "mean_iou_frequent": None,
            "classes": {},
            "protocol": {**protocol, "images": n, "images_expected": n, "data_set": name, "geometry": square},
        }
        for name, n in counts.items()
    }
    network = {"arch": "network.deepv3plus.DeepR50V3PlusD"}
    trained = {"flags": flags, "network": network, "iteration": 30463}
    content = {
        "flags": flags,
        "network": network,
        "training data": used,
        "results": {"domains": domains, "trained": trained},
    }
    for path, value in changes.items():
        *way, last = path.split("__")
        place = content
        for name in way:
            place = place[name]
        place[last] = value
    return Record("x", None, Path(), content, content["results"], [])


def test_the_papers_numbers() -> None:
    assert paper_scores(full_record()) == ({"cityscapes": 44.51, "bdd100k": 38.07, "mapillary": 42.70}, [])
    rows = re.findall(r"^\| (GTAV.*?) \| (.+?) \| (.+?) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    methods = {"baseline": "the baseline"}
    listed = {}
    for sources, method, numbers in rows:
        scores = tuple(float(number.strip("* ")) for number in numbers.split("|"))[:-1]
        listed.setdefault(tuple(sources.lower().split(", ")), {})[methods.get(method, method)] = scores
    assert listed == {
        tuple(key.split()): {k: tuple(v) for k, v in row.items()} for key, row in PAPER["mean_iou"].items()
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"network": {"arch": "x.DeepR18V3PlusD"}}, "network DeepR18V3PlusD (paper: DeepR50V3PlusD)"),
        ({"network__classes": {"names": ["road"], "colours": [[1, 2, 3]]}}, "classes others (paper: 19)"),
        ({"flags__method": "memory"}, "no row for the memory without meta-learning trained on gtav and synthia"),
        ({"flags__dataset": ["idd"]}, "no row for Pin the Memory trained on idd"),
        ({"training data__gtav": {"images": 20}}, "training images of gtav 20 (paper: 12,388)"),
        ({"results__domains": {}}, "the paper scores cityscapes, bdd100k, mapillary only"),
        ({"results": {}}, "not been evaluated"),
    ],
)
def test_no_comparison_with_the_paper(changes: Mapping[str, Any], reason: str) -> None:
    scores, reasons = paper_scores(full_record(**changes))
    assert not scores and any(reason in each for each in reasons)


@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ("images", 20, "images 20 (paper: 2,000)"),
        ("flip", True, "flip True (paper: False)"),
        ("geometry", "as stored", "geometry as stored (paper: height 1536"),
    ],
)
def test_a_domain_without_comparison(entry: str, value: Any, reason: str) -> None:
    scores, reasons = paper_scores(full_record(**{f"results__domains__mapillary__protocol__{entry}": value}))
    assert list(scores) == ["cityscapes", "bdd100k"] and reason in reasons[0] and reasons[0].startswith("mapillary: ")


# Parts


@pytest.mark.parametrize(
    ("scores", "kinds"),
    [
        ([0.3, 0.1, 0.2, float("nan"), 0.5], {"best": 4, "worst": 1, "median": 0}),
        ([0.3, 0.1], {"best": 0, "worst": 1}),
        ([0.3], {"best": 0}),
        ([float("nan")], {}),
    ],
)
def test_examples(scores: list[float], kinds: dict[str, int]) -> None:
    content = details([ImageScore(index, f"{index}", score) for index, score in enumerate(scores)], torch.eye(2))
    assert {kind: score["index"] for kind, score in content["examples"].items()} == kinds
    assert content["confusion"] == [[1, 0], [0, 1]] and len(content["images"]) == len(scores)


def test_long_curves_are_short_and_follow_the_theme() -> None:
    iterations = list(range(1, 30_001))
    svg = lines([Series("a", 0, False, iterations, [None, *iterations[1:]])], title="<loss>")
    assert len(svg) < 40_000 and 'aria-label="&lt;loss&gt;"' in svg and "var(--c0)" in svg and "font" in svg
    assert not re.findall(r"#[0-9a-f]{6}|DejaVu", svg)


def test_optional_parts(run: Path, tmp_path: Path) -> None:
    """Calibration, IoU near borders and the memory report are shown where they were measured."""
    record = read_record(run)
    results = deepcopy(dict(record.results))
    bins = [{"confidence": 0.9, "accuracy": 0.8, "share": 1.0}, {"confidence": None, "accuracy": None, "share": 0.0}]
    per_class = dict.fromkeys(results["domains"]["gtav"]["classes"], 0.123)
    results["domains"]["gtav"]["calibration"] = {"ece": 0.1, "bins": bins}
    results["domains"]["synthia"]["calibration"] = {"ece": 0.25, "bins": bins}
    results["domains"]["gtav"]["boundary_iou"] = {"mean": 0.456, "per_class": per_class, "width": 3}
    row = {"own_item": 0.5, "read_weight": None, "zeroed": -0.001, "replaced": 1.25}
    memory_report = {"domains": {"gtav": {"classes": {"road": row}}}}
    page.write_report([replace(record, results=results, memory_report=memory_report)], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for part in ("calibration on gtav", ">10.0<", ">17.5<", ">45.6<", ">12.3<", ">+0.00<", ">+1.25<"):
        assert part in text, part


# What a report may not cost


def test_a_failure_is_a_warning(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(page, "write_report", fail)
    monkeypatch.setattr("engine.evaluating.image_scores.write_example", fail)
    evaluate(run / "last.pth", data, "--out", str(tmp_path))
    printed = capsys.readouterr()
    assert (tmp_path / "results.json").exists() and not (tmp_path / "report.html").exists()
    assert printed.err.count("warning: no pictures of ") == 3
    assert printed.err.count("warning: no report (no room); make it by `python -m tools.report") == 1


def fail(*_: Any, **__: Any) -> None:
    raise OSError("no room")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nothing", "nothing: neither flags.json nor results.json is here"),
        ("RUN --out absent/page.html", "--out absent/page.html: give the name of a file in a folder that exists"),
    ],
)
def test_mistakes(line: str, message: str, run: Path, capsys: pytest.CaptureFixture) -> None:
    assert exit_code("tools.report", report.main, line.replace("RUN", str(run)).split()) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
