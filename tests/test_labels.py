"""The label tables against the release's own maps and against each other."""

import json

import numpy as np
import pytest

from datasets import labels
from support.golden import golden_path, hold


@pytest.mark.parity
def test_tables_are_those_of_the_release() -> None:
    golden = json.loads(golden_path("g_transforms.json").read_text())
    synthia = {int(stored): train_id for stored, train_id in golden["synthia_id_to_trainid"].items()}
    hold("g_transforms", "SYNTHIA's labels", (labels.SYNTHIA[list(synthia)] != list(synthia.values())).mean())
    by_colour = {tuple(colour): train_id for colour, train_id in golden["gtav_color_to_trainid"]}
    gtav = [by_colour.get(tuple(colour), labels.IGNORE) for colour in labels.GTAV_PALETTE.tolist()]
    hold("g_transforms", "GTAV's labels by colour", (labels.GTAV_COLOUR[: len(gtav)] != gtav).mean())


def test_gtav_ids_and_colours_differ_in_two_entries() -> None:
    assert np.flatnonzero(labels.GTAV_IDS != labels.GTAV_COLOUR).tolist() == [18, 34]
    assert (labels.GTAV_IDS == labels.CITYSCAPES).all()
    named = np.flatnonzero(labels.CITYSCAPES != labels.IGNORE)
    assert (labels.GTAV_PALETTE[named] == labels.PALETTE[labels.CITYSCAPES[named]]).all()


def test_every_table_covers_what_it_can() -> None:
    for table, named in ((labels.CITYSCAPES, 19), (labels.SYNTHIA, 19), (labels.MAPILLARY, 25), (labels.IDENTITY, 19)):
        assert table.dtype == np.uint8 and table.shape == (256,)
        assert set(table.tolist()) == {*range(19), labels.IGNORE}
        assert (table != labels.IGNORE).sum() == named


def test_mapillary_by_name() -> None:
    names = labels.MAPILLARY_CLASSES
    assert len(names) == len(set(names)) == 66
    for name, train_id in {"Curb": 1, "Manhole": 0, "Other Rider": 12, "On Rails": 16, "Utility Pole": 5}.items():
        assert labels.MAPILLARY[names.index(name)] == train_id
    for train_id, name in enumerate(labels.CLASSES):
        if name.title() in names:
            assert labels.MAPILLARY[names.index(name.title())] == train_id


def test_colours_of_labels() -> None:
    coloured = labels.STANDARD.colourise(np.array([[0, 13], [255, 18]], dtype=np.uint8))
    assert coloured.tolist() == [[[128, 64, 128], [0, 0, 142]], [[0, 0, 0], [119, 11, 32]]]
