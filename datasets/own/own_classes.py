"""What the labels of an own data set mean, by its file ``classes.yaml``."""

import colorsys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from datasets.labels import IDENTITY, IGNORE, STANDARD, ClassSet, Colour
from utils.errors import UsageError, first_line

FILE = "classes.yaml"
WRONG_NAMES = ("classes.yml", "classes.json", "classes.txt")
KEYS = ("classes", "ids", "colours", "names", "label_suffix")
OTHERS, IGNORED = "others", "ignore"


@dataclass(frozen=True, eq=False)
class Meaning:
    """From stored ids or colours to class ids."""

    classes: ClassSet
    table: np.ndarray  # uint8[256]: stored id, or place of a colour -> class id
    known: np.ndarray  # bool[256]: the ids and places that a label may hold
    colours: np.ndarray | None = None  # N,3 uint8, if labels store colours
    label_suffix: str | None = None  # the end of a label's stem after the stem of its image; None: the usual ones


def read_meaning(folder: Path) -> Meaning:
    """The meaning of the labels in a folder, 19 train ids if it has no such file; UsageError names a wrong entry."""
    path = folder / FILE
    if path.exists() or path.is_symlink():
        return ClassesFile(path).meaning()
    for name in WRONG_NAMES:
        if (folder / name).exists():
            raise UsageError(f"{folder / name}: is not read; call it {FILE}, in the form of docs/datasets.md")
    return Meaning(STANDARD, IDENTITY, _mask([*range(len(STANDARD)), IGNORE]))


def _mask(ids: Iterable[int]) -> np.ndarray:
    """bool[256], true at these ids."""
    return np.isin(np.arange(256), list(ids))


class ClassesFile:
    """The entries of a file.  Every error names the file and the entry."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def meaning(self) -> Meaning:
        content = _load(self.path)
        if not isinstance(content, dict) or not content:
            raise self.error("has no entries", f"give some of {', '.join(KEYS)}")
        if unknown := [key for key in content if key not in KEYS]:
            raise self.error(f"{unknown[0]} is not known", f"give some of {', '.join(KEYS)}")
        if "ids" in content and "colours" in content:
            raise self.error("colours cannot stand beside ids", "labels are stored in one way: give one of them")
        classes = self.class_set(content["classes"]) if "classes" in content else STANDARD
        names = self.names(content.get("names", {}), classes)
        suffix = content.get("label_suffix")
        if not isinstance(suffix, str | None):
            raise self.error(f"label_suffix {suffix} is no text", "give e.g. _labelIds")
        if "colours" in content:
            table, known, colours = self.table_of_colours(content["colours"], names)
        else:
            table, known = self.table_of_ids(content.get("ids", list(classes.names)), names)
            colours = None
        return Meaning(classes, table, known, colours, suffix)

    def error(self, problem: str, remedy: str) -> UsageError:
        return UsageError(f"{self.path}: {problem}: {remedy}")

    def class_set(self, entry: Any) -> ClassSet:
        """Own classes: a list of names, or a map from names to colours."""
        if not isinstance(entry, list | dict) or not 2 <= len(entry) < IGNORE:
            raise self.error("classes are no list", f"give the names of 2 to {IGNORE - 1} classes")
        names = list(entry)
        usual, colours = dict(zip(STANDARD.names, STANDARD.colours, strict=True)), []
        for place, name in enumerate(names):
            if not isinstance(name, str) or not name.strip() or name in (IGNORED, OTHERS) or "\n" in name:
                raise self.error(f"classes: {name!r} is no name of a class", "give a text, in quotation marks")
            if name in names[:place]:
                raise self.error(f"classes: {name} stands there twice", "give each class a name of its own")
            colour = entry[name] if isinstance(entry, dict) else None
            if colour is None:
                colours.append(usual.get(name) or _hue(place))
            else:
                colours.append(self.colour(colour, f"classes: {name}"))
        return ClassSet(tuple(names), tuple(colours))

    def names(self, entry: Any, classes: ClassSet) -> dict[Any, int]:
        """All names of classes in the file, from names and ids to class ids."""
        known: dict[Any, int] = {name: k for k, name in enumerate(classes.names)}
        known |= {k: k for k in range(len(classes))} | {IGNORED: IGNORE, IGNORE: IGNORE}
        if not isinstance(entry, dict):
            raise self.error("names is no map", "give own names with classes, as street: road")
        own = {name: self.class_id(value, f"names: {name}", known) for name, value in entry.items()}
        for name, class_id in own.items():
            if known.get(name, class_id) != class_id:
                raise self.error(f"names: {name} is another class already", "give a name that no class has")
        return own | known

    def class_id(self, value: Any, entry: str, names: Mapping[Any, int]) -> int:
        if isinstance(value, bool) or not isinstance(value, str | int) or value not in names:
            texts = ", ".join(name for name in names if isinstance(name, str))
            raise self.error(f"{entry}: {value} is no class", f"choose one of {texts}")
        return names[value]

    def entries(self, key: str, entry: Any, names: Mapping[Any, int], example: str) -> tuple[dict, int | None]:
        """Ids or colours with their class ids, and the class id of all others."""
        if not isinstance(entry, dict) or not entry:
            raise self.error(f"{key} is no map", f"give {key} with classes, as {example}")
        class_ids = {stored: self.class_id(value, f"{key}: {stored}", names) for stored, value in entry.items()}
        return class_ids, class_ids.pop(OTHERS, None)

    def table_of_ids(self, entry: Any, names: Mapping[Any, int]) -> tuple[np.ndarray, np.ndarray]:
        """``table`` and ``known`` of ids: a map from ids to classes, or a list of classes in the order of the ids."""
        entry = dict(enumerate(entry)) if isinstance(entry, list) else entry
        class_ids, others = self.entries("ids", entry, names, "7: road")
        for stored in class_ids:
            if isinstance(stored, bool) or not isinstance(stored, int) or not 0 <= stored <= IGNORE:
                remedy = f"give whole numbers from 0 to {IGNORE} without quotation marks, or {OTHERS}"
                raise self.error(f"ids: {stored!r} is no id", remedy)
        table = np.full(256, IGNORE if others is None else others, np.uint8)
        table[IGNORE] = IGNORE
        table[list(class_ids)] = list(class_ids.values())
        return table, _mask([*class_ids, IGNORE] if others is None else range(256))

    def table_of_colours(self, entry: Any, names: Mapping[Any, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``table``, ``known`` and ``colours`` of a map from colours to classes."""
        class_ids, others = self.entries("colours", entry, names, '"128,64,128": road')
        colours = [self.colour(text, "colours") for text in class_ids]
        if not 0 < len(colours) <= IGNORE:
            raise self.error("colours is no map", f"give 1 to {IGNORE} colours")
        for place, text in enumerate(class_ids):
            if colours[place] in colours[:place]:
                raise self.error(f"colours: {text} stands there twice", "give each colour once")
        table = np.full(256, IGNORE, np.uint8)
        table[: len(colours)] = list(class_ids.values())
        places = list(range(len(colours)))
        if others is not None:
            table[IGNORE] = others
            places.append(IGNORE)
        return table, _mask(places), np.array(colours, dtype=np.uint8)

    def colour(self, value: Any, entry: str) -> Colour:
        """Red, green and blue from "128,64,128", "#804080" or [128, 64, 128]."""
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        with suppress(ValueError):
            colour = ImageColor.getrgb(text if text.startswith("#") else f"rgb({text})")
            if len(colour) == 3 and max(colour) <= 255:
                return colour
        raise self.error(f"{entry}: {text} is no colour", 'give red, green and blue as "128,64,128" or "#804080"')


def _hue(place: int) -> Colour:
    """A colour for the class at a place: hues spread over their circle by the golden ratio."""
    lightness = (0.5, 0.7, 0.35)[place % 3]
    parts = colorsys.hls_to_rgb(place * 0.618034 % 1, lightness, 0.75)
    return tuple(round(255 * part) for part in parts)


def _load(path: Path) -> Any:
    """The content of a YAML file; UsageError if it is none, or if a key stands twice in a map."""
    import yaml  # only for those who have such a file

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            seen = set()
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if (key.tag, str(key.value)) in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} stands there twice", problem_mark=key.start_mark)
                seen.add((key.tag, str(key.value)))
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UsageError(f"{path}: {line}{error.problem}: correct it; docs/datasets.md has examples") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read ({first_line(error)}): give a text file in YAML") from error
