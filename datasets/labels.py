"""The 19 classes to which every data set is mapped, and one lookup table per data set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

IGNORE = 255

# fmt: off
CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)

PALETTE = np.array([
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
], np.uint8)

# Colour of each index of a GTAV label, 0..34 (ids of Cityscapes, 34 = licence plate).
GTAV_PALETTE = np.array([
    (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (20, 20, 20), (111, 74, 0), (81, 0, 81), (128, 64, 128), (244, 35, 232),
    (250, 170, 160), (230, 150, 140), (70, 70, 70), (102, 102, 156), (190, 153, 153), (180, 165, 180), (150, 100, 100),
    (150, 120, 90), (153, 153, 153), (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 0, 90), (0, 0, 110),
    (0, 80, 100), (0, 0, 230), (119, 11, 32), (0, 0, 142),
], np.uint8)

# Mapillary Vistas v1.2 in index order; v2.0 has other indices.
MAPILLARY_CLASSES = (
    "Bird", "Ground Animal", "Curb", "Fence", "Guard Rail", "Barrier", "Wall", "Bike Lane", "Crosswalk - Plain",
    "Curb Cut", "Parking", "Pedestrian Area", "Rail Track", "Road", "Service Lane", "Sidewalk", "Bridge", "Building",
    "Tunnel", "Person", "Bicyclist", "Motorcyclist", "Other Rider", "Lane Marking - Crosswalk",
    "Lane Marking - General", "Mountain", "Sand", "Sky", "Snow", "Terrain", "Vegetation", "Water", "Banner", "Bench",
    "Bike Rack", "Billboard", "Catch Basin", "CCTV Camera", "Fire Hydrant", "Junction Box", "Mailbox", "Manhole",
    "Phone Booth", "Pothole", "Street Light", "Pole", "Traffic Sign Frame", "Utility Pole", "Traffic Light",
    "Traffic Sign (Back)", "Traffic Sign (Front)", "Trash Can", "Bicycle", "Boat", "Bus", "Car", "Caravan",
    "Motorcycle", "On Rails", "Other Vehicle", "Trailer", "Truck", "Wheeled Slow", "Car Mount", "Ego Vehicle",
    "Unlabeled",
)

_CITYSCAPES = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15,
    31: 16, 32: 17, 33: 18,
}
_SYNTHIA = {
    1: 10, 2: 2, 3: 0, 4: 1, 5: 4, 6: 8, 7: 5, 8: 13, 9: 7, 10: 11, 11: 18, 12: 17, 15: 6, 16: 9, 17: 12, 18: 14,
    19: 15, 20: 16, 21: 3,
}
_MAPILLARY = {
    2: 1, 3: 4, 6: 3, 13: 0, 15: 1, 17: 2, 19: 11, 20: 12, 21: 12, 22: 12, 24: 0, 27: 10, 29: 9, 30: 8, 41: 0, 45: 5,
    47: 5, 48: 6, 50: 7, 52: 18, 54: 15, 55: 13, 57: 17, 58: 16, 61: 14,
}
# In the order of SegNet's labels: sky, building, column or pole, road, sidewalk, tree, sign, fence, car, pedestrian,
# bicyclist; 11 is void.
_CAMVID = {0: 10, 1: 2, 2: 5, 3: 0, 4: 1, 5: 8, 6: 7, 7: 4, 8: 13, 9: 11, 10: 12}
# fmt: on


def table(mapping: Mapping[int, int]) -> np.ndarray:
    """The lookup table of a map from stored ids to train ids: uint8[256], 255 (ignore) for all other ids."""
    lookup = np.full(256, IGNORE, dtype=np.uint8)
    for stored, train_id in mapping.items():
        lookup[stored] = train_id
    return lookup


CITYSCAPES = table(_CITYSCAPES)  # cityscapesScripts, helpers/labels.py
GTAV_IDS = table(_CITYSCAPES)  # GTAV extends the ids of Cityscapes by 34, licence plate
# Read by colour, as the published numbers were: pole group (18) looks like pole, licence plate (34) like car.
GTAV_COLOUR = table({**_CITYSCAPES, 18: 5, 34: 13})
SYNTHIA = table(_SYNTHIA)  # README of SYNTHIA-RAND-CITYSCAPES; lane marking (22) is ignored, as published
MAPILLARY = table(_MAPILLARY)  # the published map; other papers join more classes
CAMVID = table(_CAMVID)  # our own choice; a bicyclist, who includes the bicycle there, is a rider
IDENTITY = table({train_id: train_id for train_id in range(len(CLASSES))})
URBANSYN = IDENTITY.copy()  # 19 is unlabelled

# Train ids back to the ids of Cityscapes, as its server expects them; all other ids are 0, unlabelled.
CITYSCAPES_IDS = np.array([*_CITYSCAPES, *[0] * (256 - len(_CITYSCAPES))], np.uint8)

Colour = tuple[int, int, int]  # red, green, blue


@dataclass(frozen=True)
class ClassSet:
    """Classes in the order of their ids, each with its colour."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...]

    def __len__(self) -> int:
        return len(self.names)

    def colourise(self, ids: np.ndarray) -> np.ndarray:
        """The colours of class ids, black for all other ids: H,W -> H,W,3 uint8."""
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(self)] = self.colours
        return table[ids]

    def as_config(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"names": list(self.names), "colours": [list(colour) for colour in self.colours]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ClassSet":
        return cls(tuple(config["names"]), tuple(map(tuple, config["colours"])))


STANDARD = ClassSet(CLASSES, tuple(map(tuple, PALETTE.tolist())))
