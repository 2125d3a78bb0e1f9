"""A long run holds no more memory, open files, threads and processes than a short one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import train as training
from datasets.demo import write_demo
from engine import build
from engine.training.trainer import Trainer
from support.tiny_network import TinyNet


def usage() -> dict[str, int]:
    """Resident memory in bytes, open files and threads of this process, and the processes that it started."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    tasks = list(Path("/proc/self/task").iterdir())
    children = sum(len((task / "children").read_text().split()) for task in tasks)
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(tasks),
        "children": children,
    }


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux shows what a process holds")
@pytest.mark.parametrize(("settled", "iterations"), [(100, 300), pytest.param(500, 2000, marks=pytest.mark.slow)])
def test_a_long_run_holds_no_more_than_a_short_one(
    settled: int, iterations: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Callable[[int], None]
) -> None:
    write_demo(tmp_path / "data", domains=["gtav", "synthia"], train=2, val=1, size=(32, 64), seed=1, workers=1)
    held = {}
    step = Trainer.step

    def watched_step(trainer: Trainer, batch: object) -> None:
        step(trainer, batch)
        if trainer.progress.iteration in (settled, iterations - 1):
            held[trainer.progress.iteration] = usage()

    monkeypatch.setattr(Trainer, "step", watched_step)
    monkeypatch.setattr(build, "network_from", lambda config, pretrained: TinyNet(memory=True))
    line = (
        f"--data_root {tmp_path}/data --exp_root {tmp_path}/runs --val_dataset --device cpu --crop_size 32 --bs_mult 2 "
        f"--max_iter {iterations} --val_interval 100 --save_interval 50 --num_workers 1 --mem_init_batches 2 --mldg "
        "--memory --color_aug 0.5"
    )
    threads(1)  # the network is too small for more
    training.main(line.split())
    early, late = held[settled], held[iterations - 1]
    assert late["memory"] - early["memory"] < 16e6, f"{(late['memory'] - early['memory']) / 1e6:.0f} MB more"
    assert all(late[name] == early[name] for name in ("files", "threads", "children")), (early, late)
    assert usage()["children"] <= early["children"] - 1 and usage()["files"] < early["files"]
