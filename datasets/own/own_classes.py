"""What the labels of an own data set mean, by its file ``classes.yaml``."""

import colorsys
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets import labels
from datasets.labels import IGNORE, ClassSet, Colour
from utils.errors import UsageError, first_line

FILE = "classes.yaml"
MISTAKABLE = ("classes.yml", "classes.json", "classes.txt")  # names by which the file would not be found
KEYS = ("classes", "ids", "colours", "names", "label_suffix")
OTHERS, IGNORED = "others", "ignore"
_COLOUR = re.compile(r"\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*")
_HEX = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


@dataclass(frozen=True, eq=False)
class Meaning:
    """From what a label stores to class ids."""

    classes: ClassSet
    table: np.ndarray  # uint8[256]: stored id, or place of the colour -> class id
    known: np.ndarray  # bool[256]: ids and places that a label may hold
    colours: np.ndarray | None = None  # N,3 uint8, where labels are stored as colours
    label_suffix: str | None = None  # what the name of a label has more than that of its image; None for the usual ones


def read_meaning(folder: Path) -> Meaning:
    """That of an own data set; without a file the labels hold the 19 train ids.  UsageError names the wrong entry."""
    path = folder / FILE
    if not (path.exists() or path.is_symlink()):
        if wrong := next((name for name in MISTAKABLE if (folder / name).exists()), None):
            raise UsageError(f"{folder / wrong}: is not read; call it {FILE}, in the form of docs/datasets.md")
        return Meaning(labels.STANDARD, labels.IDENTITY, _known(range(len(labels.STANDARD))))
    return _Reader(path).meaning(_load(path))


class _Reader:
    """The entries of a file; every mistake names the file and the entry."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def meaning(self, content: Any) -> Meaning:
        if not isinstance(content, dict) or not content:
            raise self.wrong("", "has no entries", f"give some of {', '.join(KEYS)}")
        if unknown := [key for key in content if key not in KEYS]:
            raise self.wrong(unknown[0], "is not known", f"give some of {', '.join(KEYS)}")
        if "ids" in content and "colours" in content:
            raise self.wrong("colours", "cannot stand beside ids", "labels are stored in one way: give one of them")
        classes = self.classes(content["classes"]) if "classes" in content else labels.STANDARD
        names = self.names(content.get("names", {}), classes)
        suffix = content.get("label_suffix")
        if not isinstance(suffix, str | None):
            raise self.wrong("label_suffix", f"{suffix} is no text", "give e.g. _labelIds")
        if "colours" in content:
            return self.by_colour(content["colours"], classes, names, suffix)
        return self.by_id(content.get("ids", list(classes.names)), classes, names, suffix)

    def wrong(self, entry: object, what: str, remedy: str) -> UsageError:
        return UsageError(f"{self.path}: {f'{entry} ' if entry != '' else ''}{what}: {remedy}")

    def classes(self, found: Any) -> ClassSet:
        """Own classes: a list of names, or names with colours."""
        if not isinstance(found, list | dict) or not 2 <= len(found) < IGNORE:
            raise self.wrong("classes", "are no list", f"give the names of 2 to {IGNORE - 1} classes")
        names = list(found)
        for name in names:
            if not isinstance(name, str) or not name.strip() or name in (IGNORED, OTHERS) or "\n" in name:
                raise self.wrong(f"classes: {name!r}", "is no name of a class", "give a text, in quotation marks")
            if names.count(name) > 1:
                raise self.wrong(f"classes: {name}", "stands there twice", "give each class a name of its own")
        given = found if isinstance(found, dict) else {}
        usual = _usual_colours(names)
        colours = [
            usual[name] if given.get(name) is None else self.colour(given[name], f"classes: {name}") for name in names
        ]
        return ClassSet(tuple(names), tuple(colours))

    def names(self, found: Any, classes: ClassSet) -> dict[Any, int]:
        """What may stand for a class: its name, its id, an own name of it."""
        known: dict[Any, int] = {name: k for k, name in enumerate(classes.names)}
        known |= {k: k for k in range(len(classes))} | {IGNORED: IGNORE, IGNORE: IGNORE}
        if not isinstance(found, dict):
            raise self.wrong("names", "is no map", "give own names with classes, as street: road")
        own = {name: self.class_of(value, f"names: {name}", known) for name, value in found.items()}
        if other := [name for name, value in own.items() if known.get(name, value) != value]:
            raise self.wrong(f"names: {other[0]}", "is another class already", "give a name that no class has")
        return own | known

    def class_of(self, value: Any, entry: str, known: Mapping[Any, int]) -> int:
        if isinstance(value, bool) or not isinstance(value, str | int) or value not in known:
            names = [name for name in known if isinstance(name, str)]
            raise self.wrong(f"{entry}: {value}", "is no class", f"choose one of {', '.join(names)}")
        return known[value]

    def by_id(self, found: Any, classes: ClassSet, names: Mapping[Any, int], suffix: str | None) -> Meaning:
        """Labels that store ids, given as a map or as a list in the order of the ids."""
        if not isinstance(found, list | dict) or not found:
            raise self.wrong("ids", "is no map", "give ids with classes, as 7: road")
        entries = dict(enumerate(found)) if isinstance(found, list) else dict(found)
        others = entries.pop(OTHERS, None)
        table = np.full(256, IGNORE if others is None else self.class_of(others, f"ids: {OTHERS}", names), np.uint8)
        table[IGNORE] = IGNORE
        remedy = f"give whole numbers from 0 to {IGNORE} without quotation marks, or {OTHERS}"
        for stored, value in entries.items():
            if isinstance(stored, bool) or not isinstance(stored, int) or not 0 <= stored <= IGNORE:
                raise self.wrong(f"ids: {stored!r}", "is no id", remedy)
            table[stored] = self.class_of(value, f"ids: {stored}", names)
        return Meaning(classes, table, _known(entries if others is None else range(256)), label_suffix=suffix)

    def by_colour(self, found: Any, classes: ClassSet, names: Mapping[Any, int], suffix: str | None) -> Meaning:
        """Labels that store colours."""
        if not isinstance(found, dict) or not 0 < len(found.keys() - {OTHERS}) <= IGNORE:
            raise self.wrong("colours", "is no map", f'give 1 to {IGNORE} colours with classes, as "128,64,128": road')
        entries = dict(found)
        others = entries.pop(OTHERS, None)
        table = np.full(256, IGNORE, np.uint8)
        table[IGNORE] = IGNORE if others is None else self.class_of(others, f"colours: {OTHERS}", names)
        colours = [self.colour(text, "colours") for text in entries]
        for place, (text, value) in enumerate(entries.items()):
            if colours.index(colours[place]) != place:
                raise self.wrong(f"colours: {text}", "stands there twice", "give each colour once")
            table[place] = self.class_of(value, f"colours: {text}", names)
        known = _known(range(len(colours)), ignored=others is not None)
        return Meaning(classes, table, known, np.array(colours, dtype=np.uint8), suffix)

    def colour(self, text: Any, entry: str) -> Colour:
        if isinstance(text, list):
            text = ",".join(map(str, text))
        if isinstance(text, str) and (found := _HEX.fullmatch(text)):
            return tuple(int(part, 16) for part in found.groups())
        found = _COLOUR.fullmatch(text) if isinstance(text, str) else None
        if not found or max(map(int, found.groups())) > 255:
            remedy = 'give red, green and blue as "128,64,128" or "#804080"'
            raise self.wrong(f"{entry}: {text}", "is no colour", remedy)
        return tuple(map(int, found.groups()))


def _known(ids: Any, *, ignored: bool = True) -> np.ndarray:
    known = np.zeros(256, dtype=bool)
    known[list(ids)] = True
    known[IGNORE] = ignored
    return known


def _usual_colours(names: list[str]) -> dict[str, Colour]:
    """That of the class of Cityscapes with the name; others are spread over the circle of hues by the golden ratio."""
    known = dict(zip(labels.STANDARD.names, labels.STANDARD.colours, strict=True))
    return {name: known.get(name) or _hue(place) for place, name in enumerate(names)}


def _hue(place: int) -> Colour:
    lightness = (0.5, 0.7, 0.35)[place % 3]
    parts = colorsys.hls_to_rgb(place * 0.618034 % 1, lightness, 0.75)
    return tuple(round(255 * part) for part in parts)


def _load(path: Path) -> Any:
    """The content of a YAML file, in which no key stands twice."""
    import yaml  # only those who have such a file wait for it

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            for key in _twice(node) if isinstance(node, yaml.MappingNode) else ():
                raise yaml.MarkedYAMLError(problem=f"{key.value} stands there twice", problem_mark=key.start_mark)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UsageError(f"{path}: {line}{error.problem}: mend that; docs/datasets.md has examples") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read ({first_line(error)}): give a text file in YAML") from error


def _twice(node: Any) -> Iterator[Any]:
    """The keys of a node that stand there already."""
    before = set()
    for key, _ in node.value:
        if (key.tag, str(key.value)) in before:
            yield key
        before.add((key.tag, str(key.value)))
