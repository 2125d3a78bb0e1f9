"""What the first bytes of a file tell, of pictures and of what was saved under their names."""

from pathlib import Path

from datasets.check.findings import Finding, found

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PICTURES = (PNG, JPEG, b"BM", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")
_FETCH = "fetch the file again"


def head(path: Path, length: int = 64) -> bytes:
    """The first bytes, none if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(length)
    except OSError:
        return b""


def is_picture(path: Path) -> bool:
    """Whether a file begins as a picture does."""
    return head(path).startswith(_PICTURES)


def png_depth(path: Path) -> int | None:
    """Bits per channel of a PNG, None for other files."""
    start = head(path, 25)
    return start[24] if start.startswith(PNG) and len(start) == 25 else None


def damage(path: Path) -> Finding | None:
    """A file that holds nothing of what its name promises."""
    if path.is_symlink() and not path.exists():
        return found("dangling_link", path, "is a link to a file that is not there", "mend the link")
    start = head(path).lstrip()
    if not start and path.is_file() and path.stat().st_size == 0:
        return found("empty_file", path, "is empty", _FETCH)
    if start.startswith(b"version https://git-lfs"):
        return found("lfs_pointer", path, "is a pointer of Git LFS, not the file itself", "run `git lfs pull`")
    if start[:14].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return found("html_page", path, "is a web page, as failed downloads leave", f"{_FETCH}, logged in")
    return None
