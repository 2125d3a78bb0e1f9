"""What the labels of an own data set mean, by its file ``classes.yaml``."""

import colorsys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from datasets.disk.layouts import composed, some
from datasets.labels import IGNORE, STANDARD, ClassSet, Colour, table
from utils.errors import UsageError, first_line

FILE = "classes.yaml"
AFFIXES = ("image_prefix", "image_suffix", "label_prefix", "label_suffix")  # what one of the two names has alone
KEYS = ("classes", "ids", "colours", *AFFIXES)
OTHERS, IGNORED = "others", "ignore"
LONGEST = 100_000  # characters of the file, which bound time and memory: no alias repeats a part


@dataclass(frozen=True, eq=False)
class Meaning:
    """From stored ids or colours to class ids."""

    classes: ClassSet
    table: np.ndarray  # uint8[256]: stored id, or place of a colour -> class id
    known: np.ndarray  # bool[256]: the ids and places that a label may hold
    colours: np.ndarray | None = None  # N,3 uint8, if labels store colours
    affixes: Mapping[str, str] = field(default_factory=dict)  # those of AFFIXES that the file gives


def read_meaning(folder: Path) -> Meaning:
    """The meaning of the labels in a folder, 19 train ids if it has no such file; UsageError names a wrong entry."""
    path = folder / FILE
    if not (path.exists() or path.is_symlink()):
        for other in folder.glob("[cC]lasses.*"):
            raise UsageError(f"{other}: is not read; call it {FILE}, in the form of docs/datasets.md")
        return _meaning({})
    try:
        return _meaning(_load(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {first_line(error)}; docs/datasets.md has examples") from error


def _load(path: Path) -> Any:
    """The content of a YAML file; ValueError if it is none, or is long, has aliases or a key twice in a map."""
    import yaml  # only for those who have such a file

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: yaml.Node, index: Any) -> yaml.Node:
            if self.check_event(yaml.AliasEvent):
                raise yaml.MarkedYAMLError(problem="write out the alias", problem_mark=self.peek_event().start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            counts = Counter(str(key.value) for key, _ in node.value)
            if twice := [key for key, count in counts.items() if count > 1]:
                raise yaml.MarkedYAMLError(problem=f"{twice[0]} stands there twice", problem_mark=node.start_mark)
            return super().construct_mapping(node, deep)

    with path.open(encoding="utf-8") as file:
        text = composed(file.read(LONGEST + 1))
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST:,} characters: leave out what it does not need")
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"line {error.problem_mark.line + 1}: {error.problem}") from error
    except Exception as error:  # any kind, as the file may hold anything
        raise ValueError(f"is no YAML: {first_line(error)}") from error


def _meaning(content: Any) -> Meaning:
    """The meaning that the entries of a file give; ValueError names a wrong one."""
    wrong = [str(key) for key in content if key not in KEYS] if isinstance(content, dict) else ["its content"]
    if wrong:
        raise ValueError(f"{some(wrong, 3)} is no entry: give some of {', '.join(KEYS)}")
    if "ids" in content and "colours" in content:
        raise ValueError("labels store ids or colours: give one of these entries")
    affixes = {key: content[key] for key in AFFIXES if content.get(key) is not None}
    for key, affix in affixes.items():
        if not isinstance(affix, str):
            raise ValueError(f"{key}: {affix} is no text: put it into quotation marks")
    classes = _class_set(content["classes"]) if "classes" in content else STANDARD
    colours = None
    if "colours" in content:
        colours, class_ids = _by_colour(content["colours"], classes)
    else:
        class_ids = _by_id(content.get("ids", list(classes.names)), classes)
    return Meaning(classes, table(class_ids), np.isin(np.arange(256), list(class_ids)), colours, affixes)


def _class_set(entry: Any) -> ClassSet:
    """Own classes: a list of names, or a map from names to colours."""
    names = list(entry) if isinstance(entry, list | dict) else []
    usable = {name for name in names if isinstance(name, str) and name.strip()} - {OTHERS, IGNORED}
    if not 2 <= len(names) < IGNORE or len(usable) < len(names):
        wrong = some([repr(name) for name in names if name not in usable], 3)
        kind = f"each once and as text, but not {OTHERS} or {IGNORED}"
        raise ValueError(f"classes: give 2 to {IGNORE - 1} names, {kind}{': ' if wrong else ''}{wrong}")
    own = entry if isinstance(entry, dict) else {}
    usual = dict(zip(STANDARD.names, STANDARD.colours, strict=True))
    colours = []
    for place, name in enumerate(names):
        # Hues spread over their circle by the golden ratio.
        parts = colorsys.hls_to_rgb(place * 0.618034 % 1, (0.5, 0.7, 0.35)[place % 3], 0.75)
        other = usual.get(name) or tuple(round(255 * part) for part in parts)
        colours.append(other if own.get(name) is None else _colour(own[name]))
    return ClassSet(tuple(names), tuple(colours))


def _colour(value: Any) -> Colour:
    """Red, green and blue from "128,64,128" or "#804080"."""
    with suppress(ValueError):
        colour = ImageColor.getrgb(value if str(value).startswith("#") else f"rgb({value})")
        if len(colour) == 3 and max(colour) <= 255:
            return colour
    raise ValueError(f'{value} is no colour: write "128,64,128" or "#804080", with numbers from 0 to 255')


def _class_ids(key: str, entry: Any, classes: ClassSet) -> tuple[dict[Any, int], int | None]:
    """Stored ids or colours with their class ids, and the class id of all others."""
    if not isinstance(entry, dict) or not 1 <= len(entry) <= 256:
        raise ValueError(f"{key}: give a map of 1 to 256 {key} to classes; a # needs quotation marks")
    known = {str(class_id): class_id for class_id in (*range(len(classes)), IGNORE)} | {IGNORED: IGNORE}
    known |= {name: class_id for class_id, name in enumerate(classes.names)}
    for stored, name in entry.items():
        if str(name) not in known:
            raise ValueError(
                f"{key}: {stored}: {name} is no class: choose {IGNORED} or one of {', '.join(classes.names)}"
            )
    class_ids = {stored: known[str(name)] for stored, name in entry.items()}
    return class_ids, class_ids.pop(OTHERS, None)


def _by_id(entry: Any, classes: ClassSet) -> dict[int, int]:
    """The class ids of ids, from a map, or from a list of classes in the order of the ids."""
    entry = dict(enumerate(entry)) if isinstance(entry, list) else entry
    class_ids, others = _class_ids("ids", entry, classes)
    for stored in class_ids:
        if type(stored) is not int or not 0 <= stored <= IGNORE:
            raise ValueError(f"ids: {stored!r} is no whole number from 0 to {IGNORE}, without quotation marks")
    rest = {} if others is None else dict.fromkeys(range(IGNORE), others)
    return {**rest, IGNORE: IGNORE, **class_ids}


def _by_colour(entry: Any, classes: ClassSet) -> tuple[np.ndarray, dict[int, int]]:
    """The colours (N,3 uint8) of a map, and the class ids of their places; all other colours have the place 255."""
    class_ids, others = _class_ids("colours", entry, classes)
    colours = [_colour(text) for text in class_ids]
    if not 1 <= len(set(colours)) == len(colours) <= IGNORE:
        raise ValueError(f"colours: give 1 to {IGNORE} colours, each once")
    rest = {} if others is None else {IGNORE: others}
    return np.array(colours, np.uint8), {**dict(enumerate(class_ids.values())), **rest}
