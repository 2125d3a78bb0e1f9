"""Demo data: street scenes drawn by rule and seed, in the layouts and encodings of the six real data sets."""

from datasets.demo.layouts import LAYOUTS, write_demo
from datasets.demo.scene import draw_scene
from datasets.demo.styles import STYLES, Style

__all__ = ["LAYOUTS", "STYLES", "Style", "draw_scene", "write_demo"]
