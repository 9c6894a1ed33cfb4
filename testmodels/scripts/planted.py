#!/usr/bin/env python3
"""Writes tiny models in which half of every width is redundant.

In each block the hidden neurons come in pairs of copies (equal rows of w1 and
b1, in random order; the columns of w2 are arbitrary). In each head, with the
biases as last column, [Wq|bq]^T [Wk|bk] and [Wv|bv]^T Wo^T have exactly half
the rank of the head width, although each factor alone has three quarters. So
half of qk, vo and hidden can be removed and the outputs stay equal.
"""

import argparse
import os

import torch

import randomized
from exporting import NAMES, entry, export, write_index
from randomized import build
from vit import Config, torchvision_model

BASE = Config(image=16, patch=4, dim=32, depth=2, heads=2, hidden=64, classes=10)
# spelling: opset, dynamic batch
CASES = {
    "packed": (14, True), "packed_query": (17, False), "packed_both": (11, True), "packed_nobias": (14, False),
    "packed_index": (11, True), "chunk": (17, True), "interleaved": (11, False), "interleaved4": (14, True),
    "innermost": (17, True), "separate": (11, True), "torchvision": (14, True), "mha_sequence": (17, True),
    "conv": (14, False), "split_uneven": (17, True), "mask": (14, True), "relative_bias": (11, False),
    "mean": (17, True), "swiglu": (14, True), "layer_scale": (17, True),
}


def halved(a, b, g):
    """Mixes the rows of a and b [w, n], [w, m] so that a^T b has rank w/2.

    The first half of the rows is common; of the rest, a keeps one half and b
    the other. An invertible map and its inverse then spread this over all rows.
    """
    w = a.shape[0]
    a, b = a.double().clone(), b.double().clone()
    a[3 * w // 4:] = 0
    b[w // 2:3 * w // 4] = 0
    u, _, v = torch.linalg.svd(torch.randn(w, w, generator=g, dtype=torch.float64))
    s = torch.rand(w, generator=g, dtype=torch.float64) + 0.7
    return ((u * s) @ v @ a).float(), ((u / s) @ v @ b).float()


def attention(c, g):
    """A plain form of attention whose products have half rank in every head."""
    p = randomized.attention(c, g)
    if c.attention == "packed_nobias":
        p.update(bq=p["bq"] * 0, bk=p["bk"] * 0, bv=p["bv"] * 0)
    for h in range(c.heads):
        q, v = slice(h * c.qk, (h + 1) * c.qk), slice(h * c.vo, (h + 1) * c.vo)
        a, b = halved(torch.cat([p["wq"][q], p["bq"][q, None]], 1), torch.cat([p["wk"][q], p["bk"][q, None]], 1), g)
        p["wq"][q], p["bq"][q], p["wk"][q], p["bk"][q] = a[:, :-1], a[:, -1], b[:, :-1], b[:, -1]
        a, b = halved(torch.cat([p["wv"][v], p["bv"][v, None]], 1), p["wo"][:, v].T, g)
        p["wv"][v], p["bv"][v], p["wo"][:, v] = a[:, :-1], a[:, -1], b.T
    return p


def mlp(c, g, gated):
    """A plain form of an MLP whose hidden neurons come in pairs."""
    p = randomized.mlp(c, g, gated)
    order = torch.randperm(c.hidden, generator=g)
    one, two = order[::2], order[1::2]
    for k in ("w1", "b1") + (("wg", "bg") if gated else ()):
        p[k][two] = p[k][one]
    return p


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "planted"), metavar="DIR")
    p.add_argument("--seed", type=int, default=100)
    a = p.parse_args()
    entries = []
    for name, (opset, dynamic) in CASES.items():
        c = {"torchvision": BASE, "mean": BASE.but(pool="mean"), "swiglu": BASE.but(mlp="swiglu"),
             "layer_scale": BASE.but(layer_scale=True),
             "split_uneven": BASE.but(attention=name, qk=24, vo=8)}.get(name) or BASE.but(attention=name)
        model = build(c, a.seed, attention, mlp)
        if name == "torchvision":
            model = torchvision_model(model)
        file = f"{name}_{opset}_{'dynamic' if dynamic else 'static'}.onnx"
        export(model, os.path.join(a.out, file), c.image, opset, dynamic, NAMES.get(name, ("input", "output")))
        entries.append(entry(file, name, opset, dynamic, c, model))
    write_index(a.out, entries)


if __name__ == "__main__":
    main()
