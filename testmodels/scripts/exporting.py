"""Writing ONNX files the way PyTorch writes them, and the index beside them."""

import json
import os
import warnings

import torch

NAMES = {"separate": ("pixel_values", "logits"), "torchvision": ("x", "y")}


def export(model, path, image, opset, dynamic, names=("input", "output"), **options):
    """Exports with the TorchScript exporter; batch 1, or a symbolic batch if dynamic."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    inputs, outputs = [names[0]], list(names[1:])
    axes = {n: {0: "batch"} for n in inputs + outputs} if dynamic else None
    x = probe_input(image).repeat(2 if dynamic else 1, 1, 1, 1)
    # Gradients stay on: without them nn.MultiheadAttention takes a fused path that ONNX lacks.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), x, path, opset_version=opset, input_names=inputs, output_names=outputs,
                          dynamic_axes=axes, **options)


def probe_input(image):
    """[1, 3, S, S] with x[i] = sin(i) in row-major order, computed in float64."""
    n = 3 * image * image
    return torch.arange(n, dtype=torch.float64).sin().float().reshape(1, 3, image, image)


def probe(model, image):
    """The logits of the probe input, as plain floats (first output if there are two)."""
    out = model.eval()(probe_input(image))
    out = out[0] if isinstance(out, tuple) else out
    return [float(f"{v:.7g}") for v in out[0].tolist()]


def entry(file, spelling, opset, dynamic, c, model, forbid=(), why=""):
    """One element of index.json. forbid names widths that must stay as they are."""
    return {"file": file, "spelling": spelling, "opset": opset, "batch": "dynamic" if dynamic else "static",
            "blocks": c.depth, "heads": c.heads, "qk": c.qk, "vo": c.vo, "hidden": c.hidden,
            "tokens": c.tokens, "dim": c.dim, "classes": c.classes, "image": c.image,
            "prunable": {w: w not in forbid for w in ("qk", "vo", "hidden")},
            "declined_reason_hint": why, "probe": probe(model, c.image)}


def write_index(folder, entries):
    with open(os.path.join(folder, "index.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(e) for e in entries) + "\n]\n")
