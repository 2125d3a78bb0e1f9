"""Train on source domains, validate on domains never seen: ``python train.py --help``."""

from collections.abc import Sequence

from engine.flags import parse_training
from engine.main import run_program


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_training(argv)
    from engine.training import train  # torch is loaded only once the flags are right

    folder = train(args)
    print(
        f"done; score it with: python eval.py --snapshot {folder / 'last.pth'} --dataset {' '.join(args.val_dataset)}"
    )


if __name__ == "__main__":
    run_program("train.py", main)
