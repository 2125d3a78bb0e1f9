"""Colour the classes of a picture with an exported network: python onnx_example.py NET.onnx PICTURE COLOURS.png"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

network, picture, target = sys.argv[1:]
session = onnxruntime.InferenceSession(network)
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
colours = np.array([entry["colour"] for entry in classes], np.uint8)
pixels = np.asarray(ImageOps.exif_transpose(Image.open(picture)).convert("RGB"))
(train_ids,) = session.run(["classes"], {"images": pixels.transpose(2, 0, 1)[None]})
Image.fromarray(colours[train_ids[0]]).save(target)
