"""ablation.py and the scripts that draw the published figures: their command lines, and each on demo data."""

from pathlib import Path

import pytest

from ablation import translated
from datasets.demo import write_demo
from engine.options.evaluation_options import FigureOptions, parse_evaluation
from support.commands import ABLATE
from support.scripts import EVALUATION, ROOT, STAND_IN, Copy, thin_call
from support.snapshots import write_snapshot

pytestmark = pytest.mark.usefixtures("thin_resnet")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("my place")
    write_demo(home / "data", domains=["gtav", "cityscapes"], train=1, val=2, size=(64, 128), seed=1, workers=1)
    write_snapshot(home / "pinmem.pth", memory=True)
    write_snapshot(home / "baseline.pth", memory=False)
    return home


def test_flags_of_the_release(capsys: pytest.CaptureFixture) -> None:
    line = "--snapshot x.pth --dataset gtav idd --source_domain gtav --tsne --tsnecuda --all_class --duplication 10 "
    line += "--imagenum_dom 600 --outdir results --exp name --num_workers 2 --ablation_mode --memory --gumbel_off"
    options = parse_evaluation(translated(line.split()))
    assert options.figures == FigureOptions(
        tsne=True,
        all_classes=True,
        embeddings=10,
        images_per_domain=600,
        sources=("gtav",),
        centre_crop=(1280, 720),
    )
    assert (options.subject.datasets, options.subject.out) == (("gtav", "idd"), Path("results"))
    assert options.subject.limit == 600 and options.scoring.gumbel_eval == 0
    assert "note: without effect here: --tsnecuda, --ablation_mode" in capsys.readouterr().err  # openTSNE embeds
    options = parse_evaluation(translated(["--snapshot", "x.pth", "--mem_actmap", "--crop_size", "64", "32"]))
    assert options.figures.centre_crop == (64, 32) and options.figures.actmap
    assert options.inference.crop_size == 768  # the side of a window


@pytest.mark.parametrize("script", ABLATE)
def test_figures_as_released(script: str, tmp_path: Path) -> None:
    (line, snapshot), copy = ABLATE[script], Copy(tmp_path)
    extras = copy.elsewhere / "extras"
    copy.program("python3", STAND_IN.replace("exit 0", f'echo "$2" >> "{extras}"; exit 0'))
    file = copy.weights(f"pretrained_models/{snapshot}")
    program, *given = copy.python_arguments(f"{EVALUATION}/{script}")
    expected = translated([*line.split(), "--recipe", "published", "--snapshot", str(file)])
    assert program == str(copy.root / "ablation.py")
    assert parse_evaluation(translated(given)) == parse_evaluation(expected)
    assert copy.python_arguments(f"{EVALUATION}/{script}", GPUS="2")[5] == str(copy.root / "ablation.py")
    assert set(extras.read_text().split()) == ({"figures"} if "tsne" in script else set())


@pytest.mark.parametrize(
    "script",
    [pytest.param(name, marks=pytest.mark.slow if name == "abla_tsne_baseline_DR50V3P.sh" else ()) for name in ABLATE],
)
def test_figures_of_two_images(script: str, home: Path) -> None:
    method = "baseline" if "baseline" in script else "pinmem"
    small = "--dataset gtav cityscapes --imagenum_dom 1 --arch DeepR18V3PlusD --num_workers 0 --device cpu"
    done = thin_call(
        ROOT / EVALUATION / script, *small.split(), folder=home, DATA_ROOT="data", SNAPSHOT=f"{method}.pth"
    )
    assert done.returncode == 0, done.stderr
    results = home / method  # beside the snapshot
    if "tsne" in script:
        names = {path.name for path in (results / "tsne" / "gtav_cityscapes_val").iterdir()}
        stem = "openTSNE_6classes_1"
        pictures = {f"{stem}_{kind}.{suffix}" for kind in ("class", "domain") for suffix in ("png", "pdf")}
        assert names == {f"{stem}.npz", *pictures}
    else:
        for domain in ("gtav", "cityscapes"):
            folder = results / "memory_activation" / f"{domain}_val"
            assert len(list(folder.glob("plain/*/*.png"))) == len(list(folder.glob("blend/*/*.png"))) == 6
            assert len(list(folder.glob("sheets/*.png"))) == 1
