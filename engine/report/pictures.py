"""Pictures inside the page: each as a data URI."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

from PIL import Image


def data_uri(path: Path, width: int) -> str:
    """The picture, no wider than ``width`` pixels; one with a palette as PNG, so that its colours stay exact."""
    with Image.open(path) as picture:
        picture.load()
    palette = picture.mode == "P"
    if picture.width > width:
        size = width, max(1, round(width * picture.height / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)  # the nearest pixel where there is a palette
    file = BytesIO()
    if palette:
        picture.save(file, format="PNG", optimize=True, transparency=picture.info.get("transparency"))
    else:
        picture.convert("RGB").save(file, format="WEBP", quality=80)
    return f"data:image/{'png' if palette else 'webp'};base64,{b64encode(file.getvalue()).decode()}"
