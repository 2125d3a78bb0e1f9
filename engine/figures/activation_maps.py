"""``--mem_actmap``: how much each pixel reads from the memory's item of a class."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.evaluating.prediction import Predictor
from engine.figures.views import View, ViewSource
from network.deeplab import resize
from utils.files import write_json
from utils.log import log
from utils.pictures import contact_sheet, heat, overlay, save_picture
from utils.processes import rank

KINDS = ("plain", "blend", "sheets")


def draw_activation(predict: Predictor, source: ViewSource, *, out: Path, settings: Mapping[str, Any]) -> None:
    """Write a map per image and class, plain and over the image, and a sheet per image."""
    names = [source.classes.names[k] for k in source.shown]
    for folder, views in source.folders(out, KINDS):
        folder.mkdir(parents=True, exist_ok=True)
        if rank() == 0:
            scale = source.figures.actmap_scale
            write_json(folder / "settings.json", {**settings, "scale": scale, "classes": names})
        for view in views:
            draw_view(predict, view, source, folder)
    log.info(f"written to {out}")


def draw_view(predict: Predictor, view: View, source: ViewSource, folder: Path) -> None:
    output = predict.output(view.image, index=view.index)
    image = view.image.permute(1, 2, 0).numpy()
    prediction = source.classes.colourise(output.logits[0].argmax(0).to(torch.uint8).cpu().numpy())
    tiles = {"image": image, "prediction": prediction}
    size, scale = view.image.shape[-2:], source.figures.actmap_scale
    maps = activation(output.reading.weights, size, source.shown, scale=scale)
    for k, values in zip(source.shown, maps.cpu().numpy(), strict=True):
        name = source.classes.names[k]
        file = re.sub(r"[^\w.-]", "_", name) + f"/{view.name}.png"
        plain = heat(values)
        tiles[name] = overlay(image, plain)
        save_picture(folder / "plain" / file, plain)
        save_picture(folder / "blend" / file, tiles[name])
    save_picture(folder / "sheets" / f"{view.name}.png", contact_sheet(tiles))


def activation(weights: Tensor, size: Sequence[int], shown: Sequence[int], *, scale: str) -> Tensor:
    """How much is read from the items ``shown``, from 0 to 1: K,H,W of ``size`` for read weights (1,S,h,w).

    With ``scale`` 'pixel', 0 is the least read and 1 the most read item of each pixel, as published.  With 'image',
    they are an item's own least and most over the image.
    """
    full = resize(weights, torch.Size(size))[0]
    maps = full[list(shown)]
    low, high = full.aminmax(dim=0) if scale == "pixel" else (maps.amin((1, 2), True), maps.amax((1, 2), True))
    return (maps - low) / (high - low).clamp_min(1e-12)
