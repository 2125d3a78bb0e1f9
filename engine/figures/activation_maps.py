"""``--mem_actmap``: how much each pixel takes from the memory's item of a class."""

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datasets.images import ImageFolder
from datasets.labels import ClassSet
from engine.evaluating.prediction import Predictor
from engine.figures.views import View, domains_of, folder_views, labelled_views, shown_classes
from network.deeplab import resize
from utils.files import write_json
from utils.pictures import contact_sheet, heat, overlay, save_picture
from utils.processes import rank

KINDS = ("plain", "blend", "sheets")


def draw_activation(
    predict: Predictor, args: Namespace, *, out: Path, about: Mapping[str, Any], classes: ClassSet
) -> None:
    """Write a map per image and class, plain and over the image, and a sheet per image."""
    shown = shown_classes(args, classes)
    for folder, views in subjects(args, out):
        folder.mkdir(parents=True, exist_ok=True)
        if rank() == 0:
            shown_as = {"scale": args.actmap_scale, "classes": [classes.names[k] for k in shown]}
            write_json(folder / "settings.json", {**about, **shown_as})
        for view in views:
            draw_view(predict, view, folder=folder, classes=classes, shown=shown, scale=args.actmap_scale)
    if rank() == 0:
        print(f"written to {out}")


def subjects(args: Namespace, out: Path) -> Iterator[tuple[Path, Iterator[View]]]:
    """What is looked at, and the folder of each."""
    if args.images is not None:
        root = args.images if args.images.is_dir() else args.images.parent
        folder = out / (root.resolve().name or "images")
        limit = args.limit or args.imagenum_dom
        images = ImageFolder(args.images, apart_from=[folder / kind for kind in KINDS], limit=limit)
        yield folder, folder_views(args, images)
        return
    for name, images in domains_of(args).items():
        yield out / f"{name}_{args.split}", labelled_views(args, images)


def draw_view(
    predict: Predictor, view: View, *, folder: Path, classes: ClassSet, shown: Sequence[int], scale: str
) -> None:
    output = predict.look(view.image, index=view.index)
    image = view.image.permute(1, 2, 0).numpy()
    prediction = classes.colourise(output.logits[0].argmax(0).to(torch.uint8).cpu().numpy())
    tiles = {"image": image, "prediction": prediction}
    maps = activation(output.reading.weights, view.image.shape[-2:], shown, scale=scale)
    for k, values in zip(shown, maps.cpu().numpy(), strict=True):
        name = file_name(classes.names[k])
        plain = heat(values)
        tiles[classes.names[k]] = overlay(image, plain)
        save_picture(folder / "plain" / name / f"{view.name}.png", plain)
        save_picture(folder / "blend" / name / f"{view.name}.png", tiles[classes.names[k]])
    save_picture(folder / "sheets" / f"{view.name}.png", contact_sheet(tiles))


def file_name(name: str) -> str:
    """What files about a class are called."""
    return re.sub(r"[^\w.-]", "_", name)


def activation(weights: Tensor, size: Sequence[int], shown: Sequence[int], *, scale: str) -> Tensor:
    """How much is read from the items ``shown``, from 0 to 1: K,H,W of ``size`` for read weights (1,S,h,w).

    With ``scale`` 'pixel' the least read of all items is 0 and the most read 1, at every pixel (as published); with
    'image' it is an item's own least and most over the image.
    """
    full = resize(weights, torch.Size(size))[0]
    if scale == "image":
        full = full[list(shown)]
        low, high = full.amin(dim=(1, 2), keepdim=True), full.amax(dim=(1, 2), keepdim=True)
        return (full - low) / (high - low).clamp_min(1e-12)
    low, high = full.amin(dim=0), full.amax(dim=0)
    return (full[list(shown)] - low) / (high - low).clamp_min(1e-12)
