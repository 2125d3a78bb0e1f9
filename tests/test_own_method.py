"""A new method needs one class and one entry in METHODS."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import train as training
from datasets.sampling.loaders import Batch
from methods import METHODS, MethodEntry
from methods.method import Method
from methods.objective import Terms
from utils.errors import UsageError
from utils.options import WEIGHT, option

pytestmark = pytest.mark.usefixtures("thin_resnet")


@dataclass(frozen=True)
class ToyOptions:
    weight: float = option(1.0, "weight of the loss", flag="toy_weight", type=WEIGHT)


class Toy(Method):
    """Minimise the weighted loss of all domains pooled."""

    def step(self, batch: Batch) -> Terms:
        terms, grads = self.accumulate(batch.pool(), self.losses)
        self.apply(grads)
        return terms

    def losses(self, batch: Batch) -> Terms:
        terms = self.objective(self.net(batch.images), batch)
        return {f"toy_{name}": self.options.weight * term for name, term in terms.items()}


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "toy", MethodEntry("a toy", f"{__name__}.Toy", ToyOptions))


def test_it_trains(data: Path, tmp_path: Path) -> None:
    line = (
        f"--method toy --toy_weight 0.5 --data_root {data} --exp_root {tmp_path} --val_dataset --val_images 1 "
        "--arch DeepR18V3PlusD --pretrained_backbone none --crop_size 32 --bs_mult 2 --max_iter 2 --num_workers 0 "
        "--device cpu"
    )
    training.main(line.split())
    (run,) = (tmp_path / "default").iterdir()
    flags = json.loads((run / "flags.json").read_text())["flags"]
    assert (flags["method"], flags["toy_weight"], flags["mldg"], flags["memory"]) == ("toy", 0.5, False, False)
    assert '"toy_seg"' in (run / "metrics.jsonl").read_text()
    assert torch.load(run / "last.pth", weights_only=True)["iteration"] == 2


def test_help_and_plan_show_it(data: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        training.main(["--help"])
    assert "--toy_weight" in capsys.readouterr().out
    training.main(["--plan", "--method", "toy", "--data_root", str(data), "--val_dataset", "mapillary"])
    assert "method      a toy" in capsys.readouterr().out


def test_it_may_pass_over_one_domain(data: Path) -> None:
    with pytest.raises(UsageError, match="batch norm needs two images in every pass; give 4 or more"):
        training.main(f"--plan --method toy --bs_mult 2 --accumulate 2 --data_root {data}".split())
