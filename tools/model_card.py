"""The model card of shared weights: what they are, how they were trained and scored, what they are for."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from datasets.registry import SPECS, related, spec
from engine.evaluating.suite_table import markdown_table
from engine.report.page import percent
from engine.report.records import RESULTS
from methods import METHODS
from network.archs import short_name
from tools.compare import MEASURES, domains_by_role
from utils.forms import misfit
from utils.log import counted

LICENCES = {  # of the training data, in short: the owners' terms decide
    "cityscapes": "own licence, non-commercial use",
    "gtav": "research and education; the content of the game belongs to its publisher",
    "synthia": "CC BY-NC-SA 3.0",
    "bdd100k": "education, research and non-profit use",
    "mapillary": "CC BY-NC-SA (research edition)",
    "idd": "non-commercial research, after registration",
    "kitti": "CC BY-NC-SA 3.0",
    "camvid": "research; no licence is stated",
    "acdc": "own licence, non-commercial use",
    "dark_zurich": "the terms of its owner, not checked here",
    "muses": "the terms of its owner, after registration",
    "urbansyn": "the terms of its owner, not checked here",
}
SETTINGS = ("recipe", "bs_mult", "crop_size", "lr", "max_iter", "seed")  # flags that the card names
PROTOCOL = ("images", "split", "geometry", "memory_read", "recipe")  # facts that stand beside a score


def model_card(content: Mapping[str, Any], source: Path, title: str) -> str:
    """Return the card of the checkpoint of ours ``content``, which was read from ``source``.

    ``flags.json`` of the run says how many images it used.  Scores are those of ``results.json`` that ``eval.py`` wrote
    beside the checkpoint for the same iteration.
    """
    from checkpoints.adoption import classes_in

    network, flags = content["network"], content["flags"]
    memory, classes, entry = network["memory"], classes_in(network), METHODS.get(flags.get("method"))
    header = {
        "license": "other",
        "license_name": "terms-of-the-training-data",
        "library_name": "pytorch",
        "pipeline_tag": "image-segmentation",
        "tags": ["semantic-segmentation", "domain-generalization", "deeplab"],
        "datasets": list(dict.fromkeys(flags.get("dataset") or ())),
    }
    settings = [f"--{name} {flags[name]}" for name in SETTINGS if flags.get(name) is not None]
    facts = {
        "header": yaml.safe_dump({key: value for key, value in header.items() if value}, sort_keys=False),
        "title": title,
        "method": entry.title if entry else "not known",
        "arch": short_name(network["arch"]),
        "memory": f"with a memory of {memory['slots']} items" if memory else "without a memory",
        "count": network["num_classes"],
        "classes": ", ".join(classes.names) if classes else "not named",
        "data": "\n".join(data(header["datasets"], source)) or "Not known.",
        "iteration": "not known" if content["iteration"] is None else content["iteration"],
        "settings": " ".join(settings) or "not known",
        "code": content["code"] or "not known",
        "scores": "\n".join(scores(content, source)).strip() or "Not evaluated.",
    }
    return Path(__file__).with_suffix(".md").read_text(encoding="utf-8").format_map(facts)


def data(names: Iterable[str], source: Path) -> Iterator[str]:
    """Yield a line for each training data set: how many images of it were used, and its terms."""
    used = content_of(source.parent / "flags.json", {"training data": {str: {"images": int, str: object}}, str: object})
    for name in names:
        images = used.get("training data", {}).get(name, {}).get("images")
        entry = next((each for each in SPECS.values() if related(name, each.name)), None)  # the whole of a part
        whole = spec(name).counts.get("train") if entry else None
        part = f"{counted(images, 'image')}{f' ({whole:,} in its training split)' if whole else ''}, " if images else ""
        yield f"- {name}: {part}{LICENCES[entry.name] if entry else 'the terms of its owner'}"


def scores(content: Mapping[str, Any], source: Path) -> Iterator[str]:
    """Yield a table for each result: a row per domain, with its mIoU and the protocol."""
    for path in sorted(source.with_suffix("").glob("*/results.json")):
        result = content_of(path, RESULTS)
        if not result or result["trained"].get("iteration") != content["iteration"]:
            continue  # of an earlier state of the run
        yield f"\nProtocol `{path.parent.name}`, in percent:\n"
        rows = []
        for role, domains in domains_by_role(result).items():
            for domain in domains:
                scored = result["domains"][domain]
                numbers = [percent(scored.get(each)) for each in MEASURES]
                how = [str(scored["protocol"].get(key, "-")) for key in PROTOCOL]
                rows.append([f"{domain} ({role})", *numbers, *how])
        head = ["domain", *MEASURES.values(), *(key.replace("_", " ") for key in PROTOCOL)]
        yield from markdown_table(head, rows)


def content_of(path: Path, form: Any) -> dict[str, Any]:
    """Return the content of a JSON file; nothing if there is no such file of that form."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text())
        return {} if misfit(content, form) else content
    return {}
