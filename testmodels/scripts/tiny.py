#!/usr/bin/env python3
"""Writes the tiny untrained models and their index.

The first part is the cross product of the common spellings with opsets 11, 14
and 17, with a dynamic batch and some with a static one; the second holds one model per other
spelling, export option or architecture. Models of equal sizes share their
weights, so their probe logits agree.
"""

import argparse
import os

import onnx
import torch
import torch.nn as nn
from onnx.external_data_helper import convert_model_to_external_data

from exporting import NAMES, entry, export, write_index
from oddities import FORBID
from randomized import build, fill
from vit import Config, torchvision_model

BASE = Config(image=16, patch=4, dim=32, depth=2, heads=2, hidden=64, classes=10)
SMALL = BASE.but(dim=16, hidden=32, qk=0, vo=0)
OPSETS = (11, 14, 17)
# The common spellings, and the opsets at which there is a static batch as well.
CROSS = {"packed": (11, 14), "chunk": (17,), "interleaved": (11, 14), "separate": (11,), "torchvision": (), "mean": (17,)}
EVERY = ("qk", "vo", "hidden")

# One model each, changes to SMALL; opsets and batch modes take turns.
ATTENTIONS = ("packed_query", "mha_sequence", "packed_both", "packed_nobias", "packed_index", "interleaved4", "innermost", "conv", "mask",
              "relative_bias", "temperature", "qk_norm", "cosine", "rotary", "talking_heads", "channel_softmax",
              "einsum", "value_gate", "shared_qk", "one_key_head")
MLPS = ("gelu_tanh", "gelu_quick", "silu", "relu", "hardswish", "conv", "swiglu", "swiglu_chunk", "tapped",
        "sub_norm", "hidden_softmax")
OTHERS = {
    "odd_head": dict(attention="separate", qk=5, vo=5),
    "odd_head_packed": dict(dim=18, heads=3, hidden=30),
    "qk_not_vo": dict(attention="separate", qk=8, vo=16),
    "qk_not_vo_packed": dict(attention="split_uneven", qk=16, vo=8),
    "wide_head": dict(attention="separate", qk=16, vo=16),
    "one_head": dict(heads=1),
    "one_block": dict(depth=1),
    "window": dict(attention="window", pool="mean"),
    "layer_scale": dict(layer_scale=True),
    "parallel": dict(parallel=True),
    "two_heads": dict(pool="two"),
}


class Cnn(nn.Module):
    """A small convolutional network."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.b(self.a(x).relu()).relu().mean(dim=(2, 3)))


class MlpOnly(nn.Module):
    """Linears and activations on the flattened image."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.GELU(), nn.Linear(8, 24), nn.GELU(), nn.Linear(24, 10))

    def forward(self, x):
        return self.net(x)


class SoftmaxHead(nn.Module):
    """Probabilities in place of logits."""

    def __init__(self, vit):
        super().__init__()
        self.vit = vit

    def forward(self, x):
        return self.vit(x).softmax(dim=-1)


def spelled(name):
    """The model of a spelling of the cross product and its configuration."""
    if name == "torchvision":
        return torchvision_model(build(BASE)), BASE
    c = BASE.but(pool="mean") if name == "mean" else BASE.but(attention=name)
    return build(c), c


class Writer:
    def __init__(self, folder):
        self.folder, self.entries, self.turn = folder, [], 0

    def add(self, name, spelling, model, c, opset=None, dynamic=None, forbid=(), why="", **options):
        """Exports one model. Without an opset, opsets and batch modes take turns."""
        if opset is None:
            opset, dynamic = OPSETS[self.turn % 3], self.turn % 2 == 0
            self.turn += 1
            if spelling == "einsum":
                opset = max(opset, 14)  # Einsum needs 12
        names = NAMES.get(spelling, ("input", "output"))
        if c.pool == "two":
            names = ("input", "output", "output_dist")
        file = name + ".onnx"
        export(model, os.path.join(self.folder, file), c.image, opset, dynamic, names, **options)
        self.entries.append(entry(file, spelling, opset, dynamic, c, model, forbid, why))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "tiny"), metavar="DIR")
    a = p.parse_args()
    w = Writer(a.out)

    for name, static in CROSS.items():
        model, c = spelled(name)
        for opset in OPSETS:
            for dynamic in (False, True) if opset in static else (True,):
                w.add(f"{name}_{opset}_{'dynamic' if dynamic else 'static'}", name, model, c, opset, dynamic)

    for name in ATTENTIONS:
        c = SMALL.but(attention=name)
        w.add("attention_" + name, name, build(c), c, None, None, *FORBID.get(name, ()))
    for name in MLPS:
        c = SMALL.but(mlp=name)
        w.add("mlp_" + name, name, build(c), c, None, None, *FORBID.get(name, ()))
    for name, changes in OTHERS.items():
        c = SMALL.but(**{**dict(qk=0, vo=0), **changes})
        w.add(name, c.attention if c.pool != "mean" else name, build(c), c)
    c = SMALL.but(tied=True)
    w.add("tied_blocks", "packed", build(c), c, None, None, EVERY, "weights shared by several users")
    w.add("softmax_head", "packed", SoftmaxHead(build(SMALL)), SMALL)

    none = Config(image=16, patch=4, dim=0, depth=0, heads=1, hidden=0, classes=10)
    for name, model in (("cnn", Cnn()), ("mlp_only", MlpOnly())):
        fill(model.named_parameters(), torch.Generator().manual_seed(5))
        w.add(name, name, model, none, None, None, EVERY, "not a Vision Transformer: no attention")

    base = build(SMALL)
    w.add("initializers_as_inputs", "packed", base, SMALL, 14, True, keep_initializers_as_inputs=True)
    w.add("no_constant_folding", "packed", base, SMALL, 14, True, do_constant_folding=False)
    sep = build(SMALL.but(attention="separate"))
    w.add("no_constant_folding_separate", "separate", sep, SMALL, 11, False, do_constant_folding=False)
    external(w, base)
    write_index(a.out, w.entries)


def external(w, model):
    """A model whose larger tensors lie in a file beside it."""
    w.add("external/packed", "packed", model, SMALL, 17, True)
    path = os.path.join(w.folder, "external", "packed.onnx")
    m = onnx.load(path)
    convert_model_to_external_data(m, all_tensors_to_one_file=True, location="packed.bin", size_threshold=256)
    data = os.path.join(os.path.dirname(path), "packed.bin")
    if os.path.exists(data):
        os.remove(data)  # onnx appends
    onnx.save(m, path)


if __name__ == "__main__":
    main()
