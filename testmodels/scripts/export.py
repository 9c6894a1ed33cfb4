#!/usr/bin/env python3
"""Exports the trained weights in four spellings, with labels and preprocessing.

Every model is compared with the trained one before it is written: on the probe
input the logits of the same weights must agree to 1e-4.
"""

import argparse
import json
import os

import torch

import draw
from exporting import NAMES, export, probe_input
from vit import Config, ViT, convert, torchvision_model

PREPROCESSOR = {
    "do_normalize": True, "do_rescale": True, "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor", "resample": 3, "rescale_factor": 1 / 255,
    "size": {"height": draw.SIZE, "width": draw.SIZE},
}


def load(path, config):
    model = ViT(config)
    model.load_state_dict(torch.load(path))
    return model.eval()


@torch.no_grad()
def same(a, b):
    x = torch.cat([probe_input(draw.SIZE), probe_input(draw.SIZE).flip(3)])
    gap = (a(x) - b(x)).abs().max().item()
    if gap > 1e-4:
        raise SystemExit(f"converted model differs from the trained one by {gap}")
    return b


def main():
    here = os.path.dirname(__file__)
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--weights", required=True, metavar="DIR", help="folder that train.py wrote")
    p.add_argument("--out", default=os.path.join(here, ".."), metavar="DIR")
    a = p.parse_args()

    c = Config(classes=len(draw.CLASSES))
    cls = load(os.path.join(a.weights, "cls.pt"), c)
    mean = load(os.path.join(a.weights, "mean.pt"), c.but(pool="mean"))
    separate = same(cls, convert(cls, c.but(attention="separate")))
    for name, model, opset, dynamic in (("", cls, 14, True), ("separate", separate, 11, True),
                                        ("torchvision", same(cls, torchvision_model(cls)), 17, False),
                                        ("mean", mean, 17, True)):
        path = os.path.join(a.out, "vit_vehicles" + (name and "_" + name) + ".onnx")
        export(model, path, c.image, opset, dynamic, NAMES.get(name, ("input", "output")))
    with open(os.path.join(a.out, "labels.txt"), "w") as f:
        f.writelines(name + "\n" for name in draw.CLASSES)
    with open(os.path.join(a.out, "preprocessor_config.json"), "w") as f:
        json.dump(PREPROCESSOR, f, indent=2)
        f.write("\n")


if __name__ == "__main__":
    main()
