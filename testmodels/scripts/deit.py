#!/usr/bin/env python3
"""Writes a full-size Vision Transformer with random weights, for timing.

Weights are drawn so that activations keep the scale they have in a trained
model; accuracy is meaningless. The operators are timm's (packed qkv, reshape,
permute), as PyTorch exports them.
"""

import argparse

import torch

from exporting import export
from vit import Config, ViT

SIZES = {
    "deit-s": Config(image=224, patch=16, dim=384, depth=12, heads=6, hidden=1536, classes=1000),
    "deit-b": Config(image=224, patch=16, dim=768, depth=12, heads=12, hidden=3072, classes=1000),
    "vit-l": Config(image=224, patch=16, dim=1024, depth=24, heads=16, hidden=4096, classes=1000),
}


def fill(model, g):
    """Truncated normal weights of standard deviation 1/sqrt(inputs), small biases."""
    residual = (2 * model.config.depth) ** -0.5
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.normal_(0, 0.02, generator=g)
                if "norm" in name and name.endswith("weight"):
                    p.add_(1)
                continue
            token = "token" in name or "pos" in name
            p.normal_(0, 1, generator=g).clamp_(-2, 2)
            p.mul_(0.2 if token else p[0].numel() ** -0.5)
            if name.endswith(("proj.weight", "fc2.weight")):
                p.mul_(residual)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", help="file to write")
    p.add_argument("--size", choices=SIZES, default="deit-s")
    p.add_argument("--opset", type=int, default=17)
    p.add_argument("--static", action="store_true", help="batch 1 instead of a symbolic batch")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    model = ViT(SIZES[a.size])
    fill(model, torch.Generator().manual_seed(a.seed))
    export(model, a.out, model.config.image, a.opset, not a.static)


if __name__ == "__main__":
    main()
