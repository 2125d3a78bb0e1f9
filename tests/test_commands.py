"""The command lines of the authors' release are understood, with all their flags, and train."""

import re
import shutil
from pathlib import Path

import pytest
import torch

import train as training
from ablation import translated
from datasets.demo import write_demo
from engine.options.evaluation_options import evaluation_parser, parse_evaluation
from engine.options.training_command import parse_training, training_parser
from support.commands import ABLATE, EVALUATE, ROBUSTNET, TRAIN
from support.scripts import SMALL_TRAINING

# One script of each kind trains; the others are slow.  test_script_runs.py runs Pin the Memory on two domains.
RUN = ["train_GS_baseline_DR50V3P.sh", "train_GSI_pinmem_DR50V3P.sh", "train_GSI_robustnet_DR50V3P.sh",
       "train_r50os16_cty_irw.sh", "train_r50os16_gtav_switchable.sh", "train_shuffle_gtav_ibn.sh"]  # fmt: skip
LENGTHS = {"GG": 23_033, "GSI": 112_193, "GS": 30_463}  # by sources
SHARED = """
    --arch --img_wt_loss --cls_wt_loss --jointwtborder --strict_bdr_cls --rlx_off_iter --batch_weighting
    --wt_bound --wt_layer --clusters --use_wtloss --use_isw --relax_denom --memory --mem_slot --mem_dim
    --mem_momentum --mem_temp --gumbel_off
"""
FLAGS = {  # of the release's three programs
    "train.py": """
        --dataset --val_dataset --covstat_val_dataset --image_uniform_sampling --cv --city_mode --class_uniform_pct
        --class_uniform_tile --coarse_boost_classes --max_cu_epoch --lr --momentum --weight_decay --lr_schedule
        --poly_exp --sgd --syncbn --adam --amsgrad --fp16 --freeze_trunk --hardnm --trunk --rescale --repoly --scf
        --start_epoch --epoch_per_val --max_iter --bs_mult --bs_mult_val --crop_size --pre_size --scale_min
        --scale_max --crop_nopad --rrotate --color_aug --gblur --bblur --snapshot --restore_optimizer --exp --tb_tag
        --ckpt --tb_path --date --dump_augmentation_images --visualize_feature --test_mode --maxSkip --local_rank
        --dist_url --wt_reg_weight --trials --dynamic --cov_stat_epoch --image_in --mldg --inner_lr --inner_lr_anneal
        --no_aux_loss --mem_readloss --mem_divloss --mem_clsloss
    """,
    "eval.py": """
        --snapshot --dataset --split --mode --inference_mode --scales --crop_size --sliding_overlap --no_flip --faster
        --fixed_aspp_pool --dump_images --videopath --exp --num_workers --image_in --syncbn --test_mode --dist_bn
        --profile --trunk --dataset_dir --dataset_cls --resume --cv_split --trials --visualize_feature --split_count
    """,
    "ablation.py": """
        --dataset --source_domain --snapshot --crop_size --tsne --tsnecuda --all_class --duplication --imagenum_dom
        --mem_actmap --outdir --exp --num_workers --image_in --syncbn --test_mode --ablation_mode
    """,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    domains = ["gtav", "synthia", "idd", "cityscapes", "bdd100k", "mapillary"]
    write_demo(root, domains=domains, train=4, val=1, size=(64, 128), seed=1, workers=1)
    return root


@pytest.mark.parametrize("script", TRAIN | ROBUSTNET)
def test_published_training(script: str, data: Path, capsys: pytest.CaptureFixture) -> None:
    line = (TRAIN | ROBUSTNET)[script]
    training.main([*line.split(), "--recipe", "published", "--plan", "--data_root", str(data)])
    printed = capsys.readouterr()
    assert re.search(r"^batch       \d images per domain, \d+ images in all, crop 768$", printed.out, re.MULTILINE)
    assert "at the start, " in printed.out and ("0 at the end (poly)" in printed.out) == (script in ROBUSTNET)
    options = parse_training([*line.split(), "--recipe", "published"])
    flags = options.flags
    schedule = [flags[name] for name in ("max_iter", "lr_schedule", "poly_exp", "decay_horizon")]
    if script in ROBUSTNET:
        assert schedule == [40_000, "poly", 0.9, 40_000] and options.run.exp_root == Path("logs").absolute()
        assert printed.err == "note: without effect here: --date, --tb_path (docs/commands.md says why)\n"
    else:
        length = 70_585 if script.endswith("DR101V2.sh") else LENGTHS[script.split("_")[1]]
        assert schedule == [length, "exp", 9, 120_000] and not printed.err
    assert (flags["meta_aug"], flags["gtav_labels"], flags["mapillary_pad"]) == ("first_domain", "colour", "road")
    assert (flags["gumbel_eval"], flags["mem_init_batches"], flags["amp"]) == (1, 743, "off")


@pytest.mark.parametrize(
    "script", [pytest.param(s, marks=[] if s in RUN else pytest.mark.slow) for s in TRAIN | ROBUSTNET]
)
def test_it_trains(script: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thin_resnet: None) -> None:
    line = f"{(TRAIN | ROBUSTNET)[script]} {SMALL_TRAINING} --data_root {data} --recipe published"
    if "pinmem" in script:
        line += " --mem_init_batches 1"
    if "shuffle" not in script and "mobile" not in script:
        line += " --arch DeepR18V3PlusD"
    monkeypatch.chdir(tmp_path)
    training.main(line.split())
    (last,) = tmp_path.glob("runs/*/*/last.pth")
    assert torch.load(last, weights_only=True)["iteration"] == 2
    shutil.rmtree(tmp_path / "runs")  # which takes 200 MB


@pytest.mark.parametrize("script", EVALUATE | ABLATE)
def test_evaluation_and_figures(script: str, capsys: pytest.CaptureFixture) -> None:
    line, snapshot = (EVALUATE | ABLATE)[script]
    argv = [*line.split(), "--snapshot", f"pretrained_models/{snapshot}"]
    options = parse_evaluation(translated(argv) if script in ABLATE else argv)
    assert options.snapshot.snapshot == Path("pretrained_models", snapshot) and not capsys.readouterr().err


@pytest.mark.parametrize("program", FLAGS)
def test_every_flag_is_known(program: str) -> None:
    parser = training_parser() if program == "train.py" else evaluation_parser()
    known = {name for action in parser._actions for name in action.option_strings}
    assert {*SHARED.split(), *FLAGS[program].split()} <= known


def test_flags_without_effect(capsys: pytest.CaptureFixture) -> None:
    line = "--mem_slot 20 --use_isw --rlx_off_iter -1 --split_count 2 --cls_wt_loss --clusters 3"
    parse_evaluation(["--snapshot", "x.pth", *line.split(), "--strict_bdr_cls", ""])
    flags = "--mem_slot, --use_isw, --rlx_off_iter, --split_count, --cls_wt_loss, --clusters, --strict_bdr_cls"
    assert capsys.readouterr().err == f"note: without effect here: {flags} (docs/commands.md says why)\n"
