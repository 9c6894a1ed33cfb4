#!/usr/bin/env python3
"""Writes the zoo's models as further exporters and options leave them, and their index.

PyTorch exports what it can export; what it cannot is put together, as in
fused.py, from operator definitions.
"""

import argparse
import json
import os

import numpy as np
import onnx
import torch
import torch.nn as nn
from onnx import TensorProto, helper, numpy_helper, shape_inference

import plant
import zoo_plain as plain
from exporting import probe_input
from fused import ALL, C, F32, HIDDEN, MS, Builder, erf, gelu_20, heads, joined, noted, of, qkv, residual
from fused import model as assemble
from zoo_others import Bert
from zoo_plain import CLASSES, DIM, HEADS, Block, HfAttention, Mlp, Vit


# Exported by PyTorch.


class Sequence(nn.Module):
    """Features of [tokens, batch, width], as nn.MultiheadAttention and fairseq arrange them."""

    names = ("tokens",)

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(DIM) for _ in range(3)])
        self.attn, self.mlp, self.head = nn.MultiheadAttention(DIM, HEADS), Mlp(), nn.Linear(DIM, CLASSES)

    def plant(self, g):
        q, k, v = (plant.per_head(w, b, HEADS) for w, b in zip(self.attn.in_proj_weight.chunk(3), self.attn.in_proj_bias.chunk(3)))
        plant.qk(g, q, k)
        plant.vo(g, v, plant.columns(self.attn.out_proj, HEADS))

    @staticmethod
    def example(batch):
        return (probe_input(16)[0].reshape(-1, 1, DIM)[:12].repeat(1, batch, 1),)

    def forward(self, x):
        y = self.norms[0](x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norms[1](x))
        return self.head(self.norms[2](x).mean(dim=0))


class HfOutputs(Vit):
    """Hugging Face's ViT with hidden states and attentions among its outputs."""

    def __init__(self):
        super().__init__(lambda: Block(Watched()))

    def forward(self, x):
        x = self.embed(x)
        states, maps = [x], []
        for b in self.blocks:
            y, a = b.attn(b.norm1(x))
            x = x + y
            x = x + b.mlp(b.norm2(x))
            states.append(x)
            maps.append(a)
        return (self.head(self.norm(x)[:, 0]), *states, *maps)


class Watched(HfAttention):
    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        a = (torch.matmul(q, k.transpose(-1, -2)) / 8 ** 0.5).softmax(dim=-1)
        y = torch.matmul(a, v).permute(0, 2, 1, 3).contiguous()
        return self.dense(y.view(y.size()[:-2] + (DIM,))), a


class Masked(Vit):
    """BEiT's and SimMIM's pretraining: a second input says which patches a mask token stands for."""

    names = ("pixel_values", "bool_masked_pos")

    def __init__(self):
        super().__init__(lambda: Block(HfAttention()))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, DIM))

    @staticmethod
    def example(batch):
        return probe_input(16).repeat(batch, 1, 1, 1), (torch.arange(16) % 3 == 0).repeat(batch, 1)

    def forward(self, x, masked):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        w = masked.unsqueeze(-1).type_as(x)
        x = x * (1 - w) + self.mask_token.expand(x.shape[0], 16, -1) * w
        x = torch.cat([self.prefix[0].expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        for b in self.blocks:
            x = b(x)
        x = self.norm(x)
        return self.head(x[:, 0]), x[:, 1:]


class TwoTowers(nn.Module):
    """CLIP as optimum exports it: images and texts in, their similarities and embeddings out."""

    names = ("input_ids", "pixel_values", "attention_mask")

    def __init__(self):
        super().__init__()
        self.vision, self.text = plain.Clip(), Bert()
        self.text.classifier = nn.Linear(DIM, 12)
        self.scale = nn.Parameter(torch.ones([]))

    @staticmethod
    def example(batch):
        ids, mask, _ = Bert.example(batch)
        return ids, probe_input(16).repeat(batch, 1, 1, 1), mask

    def forward(self, input_ids, pixel_values, attention_mask):
        i = self.vision(pixel_values)
        t = self.text(input_ids, attention_mask, torch.zeros_like(input_ids))
        i, t = i / i.norm(dim=-1, keepdim=True), t / t.norm(dim=-1, keepdim=True)
        logits = torch.matmul(t, i.t()) * self.scale.exp()
        return logits.t(), logits, t, i


def export(model, path, opset, inputs, outputs, axes, **options):
    batch = 2 if axes else 1
    x = model.example(batch) if hasattr(model, "example") else (probe_input(16).repeat(batch, 1, 1, 1),)
    torch.onnx.export(model, x, path, opset_version=opset, input_names=inputs, output_names=outputs, dynamic_axes=axes, **options)


def first(names):
    return {n: {0: "batch"} for n in names}


def exported(make, opset, inputs, outputs, axes=None, **options):
    def write(path):
        torch.manual_seed(0)
        model, planted = plant.build(make())
        export(model, path, opset, list(inputs), list(outputs), axes(list(inputs) + list(outputs)) if axes else None, **options)
        return planted
    return write


def old_ir(path):
    """Every initializer is an input as well, as IR 3 demands and old exporters wrote it."""
    planted = exported(lambda: Vit(lambda: Block(HfAttention())), 9, ("input.1",), ("output",), keep_initializers_as_inputs=True)(path)
    m = onnx.load(path)
    m.ir_version = 3
    onnx.save(m, path)
    return planted


def onnxsim(path):
    """A frozen batch, every constant an initializer, every shape stated, names as they were."""
    planted = exported(plain.vit, 14, ("input",), ("logits",))(path)
    m = onnx.load(path)
    kept = []
    for n in m.graph.node:
        if n.op_type == "Constant":
            m.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(n.attribute[0].t), n.output[0]))
        else:
            kept.append(n)
    del m.graph.node[:]
    m.graph.node.extend(kept)
    m = shape_inference.infer_shapes(m)
    m.producer_name = "onnx.simplifier"
    onnx.save(m, path)
    return planted


def optimum(axes):
    return {n: {0: "batch_size", 1: "num_channels", 2: "height", 3: "width"} if n == "pixel_values" else {0: "batch_size"} for n in axes}


def clip_axes(names):
    per_text, per_image = {0: "text_batch_size"}, {0: "image_batch_size", 1: "num_channels", 2: "height", 3: "width"}
    return {"input_ids": per_text, "attention_mask": per_text, "pixel_values": per_image, "logits_per_image": {0: "image_batch_size", 1: "text_batch_size"},
            "logits_per_text": {0: "text_batch_size", 1: "image_batch_size"}, "text_embeds": per_text, "image_embeds": {0: "image_batch_size"}}


# Put together.


class Dynamo(Builder):
    """A graph as torch.onnx.export(dynamo=True) leaves it once functions are inlined: nodes with metadata, shapes from Shape."""

    def op(self, kind, *inputs, **options):
        names = super().op(kind, *inputs, **options)
        noted(self.nodes[-1], "namespace", f": VisionTransformer/blocks: {kind}")
        noted(self.nodes[-1], "pkg.torch.onnx.fx_node", f"%{self.nodes[-1].name} : call_function[target=torch.ops.aten]")
        return names

    def batch(self, x):
        return self.op("Shape", x, start=0, end=1)

    def reshape(self, x, *dims):
        if dims[0] != 0:
            return super().reshape(x, *dims)
        size = self.op("Concat", self.batch(x), *(self.const([d]) for d in dims[1:]), axis=0)
        return self.op("Reshape", x, size, allowzero=1)


def dynamo_attention(b, x, p):
    """One packed map, Split with num_outputs, scaled_dot_product_attention with half of the scale on either side."""
    y = b.linear(x, np.concatenate([p["w" + k] for k in "qkv"]), np.concatenate([p["b" + k] for k in "qkv"]))
    q, k, v = (heads(b, t) for t in b.op("Split", y, outputs=3, axis=-1, num_outputs=3))
    scale = C.qk ** -0.25
    k = b.op("Transpose", k, perm=[0, 1, 3, 2])
    s = b.op("MatMul", b.op("Mul", q, b.const(scale)), b.op("Mul", k, b.const(scale)))
    return joined(b, b.op("MatMul", b.op("Softmax", s, axis=-1), v))


def keras_norm(b, x):
    """Keras' LayerNormalization by tf.nn.moments and batch_normalization, as tf2onnx writes it."""
    mean = b.op("ReduceMean", x, axes=[-1], keepdims=1)
    d = b.op("Sub", x, mean)
    var = b.op("ReduceMean", b.op("Mul", d, d), axes=[-1], keepdims=1)
    inv = b.op("Mul", b.op("Reciprocal", b.op("Sqrt", b.op("Add", var, b.const(1e-6)))), b.gamma())
    return b.op("Add", b.op("Mul", x, inv), b.op("Sub", b.beta(), b.op("Mul", mean, inv)))


class Keras(Builder):
    def norm(self, x):
        return keras_norm(self, x)


def computed(b, x, w, bias):
    """A dense layer as Tensordot over axes whose sizes are computed, in 32-bit integers, at run time."""
    n = b.op("Cast", b.op("Shape", x), to=TensorProto.INT32)
    free = b.op("Gather", b.op("Cast", n, to=TensorProto.INT64), b.const([0, 1]))
    rows = b.op("Unsqueeze", b.op("ReduceProd", free, keepdims=0), b.const([0]))
    y = b.op("MatMul", b.op("Reshape", x, b.op("Concat", rows, b.const([w.shape[1]]), axis=0)), b.const(w.T))
    return b.op("Add", b.op("Reshape", y, b.op("Concat", free, b.const([w.shape[0]]), axis=0)), b.const(bias))


def masked(kind):
    """ONNX's Attention whose mask is computed: from the positions alone, or from what the tokens are."""
    def attention(b, x, p):
        q, k, v = qkv(b, x, p)
        if kind == "positions":
            at = b.op("Range", b.const(0), b.op("Gather", b.op("Shape", x), b.const(1), axis=0), b.const(1))
            far = b.op("Abs", b.op("Sub", b.op("Unsqueeze", at, b.const([1])), b.op("Unsqueeze", at, b.const([0]))))
            mask = b.op("Less", far, b.const(9))
        else:
            first = b.op("Slice", x, b.const([0]), b.const([1]), b.const([2]))
            seen = b.op("Greater", b.op("Transpose", first, perm=[0, 2, 1]), b.const(-0.5))
            mask = b.op("Expand", b.op("Unsqueeze", seen, b.const([1])), b.const([1, 1, C.tokens, 1]))
        return b.op("Attention", q, k, v, mask, q_num_heads=C.heads, kv_num_heads=C.heads)
    return attention


def grouped_contrib(b, x, p):
    """GroupQueryAttention, which is made for text: causal, keys and values handed on."""
    n = C.heads // 2 or 1
    q = b.linear(x, p["wq"], p["bq"])
    k, v = (b.linear(x, p["w" + t][:n * C.qk], p["b" + t][:n * C.qk]) for t in "kv")
    size = b.op("Cast", b.op("Gather", b.op("Shape", x), b.const([0])), to=TensorProto.INT64)
    last = b.op("Expand", b.const([C.tokens - 1], np.int32), size)
    return b.op("GroupQueryAttention", q, k, v, "", "", last, b.const(C.tokens, np.int32), domain=MS, outputs=3, num_heads=C.heads, kv_num_heads=n)[0]


class BFloat16(Builder):
    """All numbers in bfloat16."""

    def const(self, x, dtype=None):
        x = np.asarray(x)
        if x.dtype.kind != "f" or dtype:
            return super().const(x, dtype)
        self.count += 1
        raw = (np.ascontiguousarray(x, F32).view(np.uint32) >> 16).astype(np.uint16)
        self.weights.append(TensorProto(name=f"c{self.count}", data_type=TensorProto.BFLOAT16, dims=x.shape, raw_data=raw.tobytes()))
        return f"c{self.count}"


def assembled(block, opset, planted, builder=Builder, complete=False, **options):
    def write(path):
        m = assemble(block, opset, builder=builder, **options)
        if complete:
            m = shape_inference.infer_shapes(m)
            m.producer_name = "pytorch"
        if options.get("external"):
            if os.path.exists(path + ".data"):
                os.remove(path + ".data")
            onnx.save_model(m, path, save_as_external_data=True, location=os.path.basename(path) + ".data", size_threshold=256)
        else:
            onnx.save_model(m, path)
        return planted
    return write


# file: exporter, architecture, what writes it
CASES = {
    "old_ir": ("PyTorch 1.13: initializers among the inputs, IR 3", "ViT", old_ir),
    "sequence_first": ("PyTorch 1.13: [tokens, batch, width] in", "ViT, of features",
                       exported(Sequence, 14, ("tokens",), ("logits",), lambda n: {"tokens": {1: "batch"}, "logits": {0: "batch"}})),
    "hf_outputs": ("Hugging Face: hidden states and attentions out", "ViT",
                   exported(HfOutputs, 14, ("pixel_values",), ("logits", "hidden_0", "hidden_1", "hidden_2", "attention_0", "attention_1"), first)),
    "masked_patches": ("Hugging Face: two inputs, two outputs", "BEiT, pretraining",
                       exported(Masked, 14, Masked.names, ("logits", "patches"), first)),
    "optimum": ("optimum: every axis of the image open", "ViT", exported(plain.vit_hf, 14, ("pixel_values",), ("logits",), optimum)),
    "optimum_clip": ("optimum: two towers, three inputs, four outputs", "CLIP",
                     exported(TwoTowers, 14, TwoTowers.names, ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds"), clip_axes)),
    "onnxsim": ("onnxsim: constants folded, shapes frozen", "ViT", onnxsim),
    "dynamo_inlined": ("PyTorch dynamo: inlined, shapes computed, external data", "ViT",
                       assembled(residual(dynamo_attention, erf), 18, ALL, Dynamo, complete=True, external=True)),
    "dynamo_gelu": ("PyTorch dynamo: Gelu", "ViT", assembled(residual(dynamo_attention, gelu_20), 20, ALL, Dynamo)),
    "keras_norms": ("tf2onnx: norms by moments, Tensordot of computed shapes, NHWC", "ViT", assembled(of(computed), 13, ALL, Keras, nhwc=True)),
    "mask_of_positions": ("ONNX Attention, mask of positions", "ViT, local", assembled(residual(masked("positions"), gelu_20), 23, ALL)),
    "mask_of_tokens": ("ONNX Attention, mask of tokens", "ViT, masked", assembled(residual(masked("tokens"), gelu_20), 24, ALL)),
    "grouped_contrib": ("ONNX Runtime's optimizer: GroupQueryAttention", "ViT, grouped queries", assembled(residual(grouped_contrib, erf), 17, HIDDEN)),
    "bfloat16": ("PyTorch dynamo: bf16 throughout", "ViT", assembled(residual(dynamo_attention, gelu_20), 20, ALL, BFloat16, elem="bf16", copies=True)),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "zoo", "exporters"), metavar="DIR")
    p.add_argument("only", nargs="*", metavar="CASE", help="write these only, and leave the index alone")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    entries = []
    for name, (exporter, architecture, write) in CASES.items():
        if a.only and name not in a.only:
            continue
        path = os.path.join(a.out, name + ".onnx")
        planted = write(path)
        print(f"{name:20} {os.path.getsize(path):7} {planted}")
        entries.append({"file": name + ".onnx", "exporter": exporter, "architecture": architecture, "planted": planted})
    if not a.only:
        with open(os.path.join(a.out, "index.json"), "w") as f:
            f.write("[\n" + ",\n".join(json.dumps(e) for e in entries) + "\n]\n")


if __name__ == "__main__":
    main()
