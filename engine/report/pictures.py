"""Pictures inside the page: each as a data URI."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

from PIL import Image

from utils.errors import UsageError, first_line


def data_uri(path: Path | str, share: float = 1, *, width: int) -> str:
    """The picture, no wider than ``share`` of ``width`` pixels; one with a palette as PNG, which keeps its colours."""
    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, SyntaxError) as error:
        raise UsageError(f"{path}: not a readable picture ({first_line(error)}); delete its folder") from error
    if picture.width > share * width:
        size = int(share * width), max(1, round(share * width * picture.height / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)  # the nearest pixel where there is a palette
    file, kind = BytesIO(), "png" if picture.mode == "P" else "webp"
    if kind == "webp":
        picture.convert("RGB").save(file, format=kind, quality=80)
    else:
        picture.save(file, format=kind, optimize=True, transparency=picture.info.get("transparency"))
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}"
