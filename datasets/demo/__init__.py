"""Demo data: street scenes drawn by rules from a seed, in the layouts and encodings of six real data sets."""

from datasets.demo.scene import draw_scene
from datasets.demo.styles import FURTHER, STYLES
from datasets.demo.write import LAYOUTS, scene_files, write_demo

__all__ = ["FURTHER", "LAYOUTS", "STYLES", "draw_scene", "scene_files", "write_demo"]
