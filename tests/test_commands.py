"""The release's command lines and flags: all are understood, and the training ones can be planned."""

import json
import re
from pathlib import Path

import pytest

import train as training
from ablation import translated
from datasets.demo import write_demo
from engine.options.eval_flags import evaluation_parser, parse_evaluation
from engine.options.train_flags import parse_training, training_parser
from support.commands import ABLATE, EVALUATE, ROBUSTNET, TRAIN

ROOT = Path(__file__).parent.parent
LENGTHS = {"GG": 23_033, "GSI": 112_193, "GS": 30_463}
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
    write_demo(root, domains=domains, train=1, val=1, size=(32, 64), seed=1, workers=1)
    return root


@pytest.mark.parametrize("script", TRAIN)
def test_lengths_that_were_published(script: str) -> None:
    args = parse_training([*TRAIN[script].split(), "--recipe", "published"])
    length = 70_585 if script.endswith("DR101V2.sh") else LENGTHS[script.split("_")[1]]
    assert (args.max_iter, args.decay_horizon, args.lr_schedule, args.poly_exp) == (length, 120_000, "exp", 9)


@pytest.mark.parametrize("script", ROBUSTNET)
def test_lines_of_robustnet(script: str, capsys: pytest.CaptureFixture) -> None:
    args = parse_training([*ROBUSTNET[script].split(), "--recipe", "published"])
    assert (args.max_iter, args.decay_horizon, args.lr_schedule, args.poly_exp) == (40_000, 40_000, "poly", 0.9)
    assert args.exp_root == Path("logs").absolute() and "tb_path" not in args
    assert capsys.readouterr().err.count("note: ") == 1  # --date


@pytest.mark.parametrize("script", [*TRAIN, *ROBUSTNET])
def test_plans(script: str, data: Path, capsys: pytest.CaptureFixture) -> None:
    line = (TRAIN | ROBUSTNET)[script]
    training.main([*line.split(), "--recipe", "published", "--plan", "--data_root", str(data)])
    told = capsys.readouterr().out
    assert re.search(r"^batch       \d images per domain, \d+ images in all, crop 768$", told, re.MULTILINE)
    assert ("at the start, " in told) and ("0 at the end (poly)" in told) == (script in ROBUSTNET)


@pytest.mark.parametrize("script", EVALUATE | ABLATE)
def test_evaluation_and_figures(script: str, capsys: pytest.CaptureFixture) -> None:
    line, snapshot = (EVALUATE | ABLATE)[script]
    given = [*line.split(), "--snapshot", f"pretrained_models/{snapshot}"]
    args = parse_evaluation(translated(given) if script in ABLATE else given)
    assert args.snapshot.name == Path(snapshot).name and not capsys.readouterr().err


@pytest.mark.parametrize("program", FLAGS)
def test_every_flag_is_known(program: str) -> None:
    parser = training_parser() if program == "train.py" else evaluation_parser()
    known = {name for action in parser._actions for name in action.option_strings}
    assert {*SHARED.split(), *FLAGS[program].split()} <= known


def test_flags_of_training_in_evaluation(capsys: pytest.CaptureFixture) -> None:
    usual = "--mem_slot 19 --mem_dim 256 --mem_momentum 0.8 --mem_temp 1 --relax_denom 0.0 --clusters 50 --wt_bound 1.0"
    usual += " --rlx_off_iter -1 --split_count 1"
    parse_evaluation(["--snapshot", "x.pth", *usual.split(), "--strict_bdr_cls", ""])
    assert not capsys.readouterr().err
    other = "--mem_slot 20 --use_isw --use_wtloss --fixed_aspp_pool --split_count 2 --cls_wt_loss --clusters 3"
    parse_evaluation(["--snapshot", "x.pth", *other.split()])
    assert capsys.readouterr().err.count("has no effect here") == 7


def test_the_folder_of_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_training(["--ckpt", "./logs/"]).exp_root == tmp_path / "logs"
    assert (
        parse_training(["--ckpt", "logs", "--exp_root", "./logs", "--tb_path", "logs/", "--ckpt", "logs"]).exp_root
        == tmp_path / "logs"
    )
    assert parse_training(["--exp_root", "one", "--exp_root", "two"]).exp_root == tmp_path / "two"
    assert not capsys.readouterr().err
    parse_training(["--ckpt", "logs", "--tb_path", "other", "--exp", "name"])
    assert capsys.readouterr().err == (
        f"note: --tb_path has no effect here; TensorBoard finds the runs with --logdir {tmp_path}/logs/name\n"
    )
    with pytest.raises(SystemExit) as stopped:
        parse_training(["--ckpt", "logs", "--exp_root", "other"])
    told = f"--ckpt {tmp_path}/logs and --exp_root {tmp_path}/other: names of one folder; give one of them"
    assert stopped.value.code == 2 and told in capsys.readouterr().err
    (tmp_path / "logs/name/now").mkdir(parents=True)
    (tmp_path / "logs/name/now/iteration_0000001.pth").touch()
    flags = {"exp_root": f"{tmp_path}/logs", "exp": "name", "max_iter": 5, "lr_schedule": "exp"}
    (tmp_path / "logs/name/now/flags.json").write_text(json.dumps({"flags": flags}))
    args = parse_training(["--ckpt", "logs", "--exp", "name", "--resume", "auto"])
    assert args.checkpoint.parent.name == "now" and args.exp_root == tmp_path / "logs"
