"""What tests of ``datasets.prepare`` share."""

from pathlib import Path

from datasets import packed
from datasets.prepare import __main__ as prepare
from support.programs import exit_code

FORMS = [form for form in packed.FORMS if form == "raw" or packed.can_zstd()]


def run(*arguments: str | Path, code: int = 0) -> None:
    """``datasets.prepare``, which must end with ``code``."""
    assert exit_code("datasets.prepare", prepare.main, [*arguments, "--workers", "1"]) == code


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def only_bytes(folder: Path) -> dict[str, bytes]:
    """Without the files that a kill leaves."""
    return {name: data for name, (data, _) in contents(folder).items() if not name.endswith(".partial")}
