#!/usr/bin/env python3
"""Writes the zoo's models in other exporters' and optimizers' operators, and their index.

One ViT of two blocks, put together from operator definitions: as ONNX Runtime's
optimizers fuse it, in ONNX's own Attention, as the dynamo exporter and tf2onnx
write it, and with weights of other types or behind other operators. Half of
q/k, v/o and hidden is redundant where "planted" in the index says so.
"""

import argparse
import json
import os

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

import planted
from vit import Config

C = Config(image=16, patch=4, dim=16, depth=2, heads=2, hidden=32, classes=10, pool="mean")
MS = "com.microsoft"
F32, F16, I64, I8, U8, I32 = np.float32, np.float16, np.int64, np.int8, np.uint8, np.int32


class Builder:
    """A graph under construction. Weights are of the type that the model computes in."""

    def __init__(self, opset, elem=F32):
        self.opset, self.elem, self.count = opset, elem, 0
        self.nodes, self.weights, self.functions, self.domains = [], [], [], set()
        self.rng = np.random.default_rng(7)

    def op(self, kind, *inputs, domain="", outputs=1, **attrs):
        self.count += 1
        names = [f"v{self.count}" + ("" if i == 0 else f"_{i}") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, f"n{self.count}", domain=domain, **attrs))
        self.domains.add(domain)
        return names[0] if outputs == 1 else names

    def const(self, x, dtype=None):
        x = np.asarray(x, dtype or (self.elem if np.asarray(x).dtype.kind == "f" else I64))
        self.count += 1
        self.weights.append(numpy_helper.from_array(x, f"c{self.count}"))
        return f"c{self.count}"

    def reshape(self, x, *dims):
        return self.op("Reshape", x, self.const(list(dims)))

    def random(self, scale, *dims, shift=0.0):
        return self.const(self.rng.standard_normal(dims).astype(F32) * scale + shift)

    def gamma(self):
        return self.random(0.2, C.dim, shift=1.0)

    def beta(self):
        return self.random(0.2, C.dim)

    def norm(self, x):
        if self.opset >= 17:
            return self.op("LayerNormalization", x, self.gamma(), self.beta(), axis=-1, epsilon=1e-5)
        m = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1], keepdims=1))
        v = self.op("ReduceMean", self.op("Mul", m, m), axes=[-1], keepdims=1)
        y = self.op("Div", m, self.op("Sqrt", self.op("Add", v, self.const(1e-5))))
        return self.op("Add", self.op("Mul", y, self.gamma()), self.beta())

    def linear(self, x, w, b):
        return self.op("Add", self.op("MatMul", x, self.const(w.T)), self.const(b))

    def mean(self, x):
        if self.opset >= 18:
            return self.op("ReduceMean", x, self.const([1]), keepdims=0)
        return self.op("ReduceMean", x, axes=[1], keepdims=0)


def heads(b, x, n=C.heads, w=C.qk):
    return b.op("Transpose", b.reshape(x, 0, C.tokens, n, w), perm=[0, 2, 1, 3])


def joined(b, x):
    return b.reshape(b.op("Transpose", x, perm=[0, 2, 1, 3]), 0, C.tokens, C.heads * C.vo)


def qkv(b, x, p, linear=None):
    linear = linear or b.linear
    return [linear(x, p["w" + k], p["b" + k]) for k in "qkv"]


def softmax(b, q, k, v, product="MatMul"):
    if product == "MatMul":
        s = b.op("MatMul", q, b.op("Transpose", k, perm=[0, 1, 3, 2]))
        s = b.op("Mul", s, b.const(C.qk ** -0.5))
    else:
        s = b.op("FusedMatMul", q, k, domain=MS, transB=1, alpha=C.qk ** -0.5)
    return b.op("MatMul", b.op("Softmax", s, axis=-1), v)


# Attention, from normalized tokens to what the output projection reads.


def plain(b, x, p, linear=None):
    return joined(b, softmax(b, *(heads(b, t) for t in qkv(b, x, p, linear))))


def fused_matmul(b, x, p):
    return joined(b, softmax(b, *(heads(b, t) for t in qkv(b, x, p)), product="FusedMatMul"))


def contrib(b, x, p, bias=False):
    w = np.concatenate([p["wq"], p["wk"], p["wv"]]).T
    more = ["", "", b.random(0.5, 1, C.heads, C.tokens, C.tokens)] if bias else []
    return b.op("Attention", x, b.const(w), b.const(np.concatenate([p["bq"], p["bk"], p["bv"]])), *more, domain=MS, num_heads=C.heads)


def contrib_bias(b, x, p):
    return contrib(b, x, p, True)


def multi_head(b, x, p):
    q, k, v = (b.op("MatMul", x, b.const(p["w" + t].T)) for t in "qkv")
    bias = b.const(np.concatenate([p["bq"], p["bk"], p["bv"]]))
    return b.op("MultiHeadAttention", q, k, v, bias, domain=MS, num_heads=C.heads)


def onnx_3d(b, x, p):
    return b.op("Attention", *qkv(b, x, p), q_num_heads=C.heads, kv_num_heads=C.heads)


def onnx_4d(b, x, p):
    q, k, v = (heads(b, t) for t in qkv(b, x, p))
    return joined(b, b.op("Attention", q, k, v, b.random(0.5, 1, 1, C.tokens, C.tokens), scale=0.3))


def grouped(b, x, p):
    q = b.linear(x, p["wq"], p["bq"])
    k, v = (b.linear(x, p["w" + t][:C.qk], p["b" + t][:C.qk]) for t in "kv")
    return b.op("Attention", q, k, v, q_num_heads=C.heads, kv_num_heads=1)


def angles(b):
    a = np.arange(C.tokens)[:, None] * 0.5 ** np.arange(C.qk // 2)[None]
    return b.const(np.cos(a).astype(F32)), b.const(np.sin(a).astype(F32))


def positions(b, x):
    """[0, 1, ...] for every image, as an exporter writes it."""
    n = b.op("Concat", b.op("Gather", b.op("Shape", x), b.const([0])), b.const([C.tokens]), axis=0)
    return b.op("Expand", b.const([list(range(C.tokens))]), n)


def rotary_contrib(b, x, p):
    cos, sin = angles(b)
    q, k, v = qkv(b, x, p)
    q, k = (b.op("RotaryEmbedding", t, positions(b, x), cos, sin, domain=MS, num_heads=C.heads) for t in (q, k))
    return joined(b, softmax(b, heads(b, q), heads(b, k), heads(b, v)))


def rotary_onnx(b, x, p):
    cos, sin = angles(b)
    q, k, v = qkv(b, x, p)
    q, k = (b.op("RotaryEmbedding", heads(b, t), cos, sin, positions(b, x), interleaved=1) for t in (q, k))
    return joined(b, b.op("Attention", q, k, heads(b, v)))


def keras(b, x, p):
    """Keras' EinsumDense, as tf2onnx leaves it: weights [dim, heads, width]."""
    def dense(k):
        w = p["w" + k].T.reshape(C.dim, C.heads, -1)
        return b.op("Add", b.op("Einsum", x, b.const(w), equation="abc,cde->abde"), b.const(p["b" + k].reshape(C.heads, -1)))
    q = b.op("Mul", dense("q"), b.const(C.qk ** -0.5))
    s = b.op("Softmax", b.op("Einsum", dense("k"), q, equation="aecd,abcd->acbe"), axis=-1)
    return b.op("Einsum", s, dense("v"), equation="acbe,aecd->abcd")


def keras_out(b, y, w):
    return b.op("Einsum", y, b.const(w.T.reshape(C.heads, C.vo, C.dim)), equation="abcd,cde->abe")


def flat(b, x, w, bias):
    """A dense layer as Tensordot: tokens of all images in one matrix."""
    y = b.op("MatMul", b.reshape(x, -1, w.shape[1]), b.const(w.T))
    return b.op("Add", b.reshape(y, -1, C.tokens, w.shape[0]), b.const(bias))


def gemm(b, x, w, bias):
    """MatMul and Add as ONNX Runtime fuses them, with reshapes around."""
    y = b.op("Gemm", b.reshape(x, -1, w.shape[1]), b.const(w), b.const(bias), transB=1)
    return b.reshape(y, -1, C.tokens, w.shape[0])


def behind(kind):
    """A linear map whose weight lies behind an operator."""
    def linear(b, x, w, bias):
        if kind == "Transpose":
            v = b.op("Transpose", b.const(w), perm=[1, 0])
        elif kind == "Identity":
            v = b.op("Identity", b.const(w.T))
        elif kind == "Cast":
            v = b.op("Cast", b.const(w.T, F16), to=TensorProto.FLOAT)
        elif kind == "Reshape":
            v = b.reshape(b.const(w.T.reshape(-1)), w.shape[1], w.shape[0])
        elif kind == "bfloat16":
            raw = (np.ascontiguousarray(w.T, F32).view(np.uint32) >> 16).astype(np.uint16)
            b.count += 1
            b.weights.append(TensorProto(name=f"c{b.count}", data_type=TensorProto.BFLOAT16, dims=w.T.shape, raw_data=raw.tobytes()))
            v = b.op("Cast", f"c{b.count}", to=TensorProto.FLOAT)
        else:
            scale = np.abs(w).max() / 127
            v = b.op("DequantizeLinear", b.const(np.round(w.T / scale), I8), b.const(scale, F32), b.const(0, I8))
        return b.op("Add", b.op("MatMul", x, v), b.const(bias))
    return linear


def quantized(b, x, w, bias):
    """Activations and weights in 8 bits, between pairs of QuantizeLinear and DequantizeLinear."""
    s, z = b.const(0.05, F32), b.const(0, I8)
    x = b.op("DequantizeLinear", b.op("QuantizeLinear", x, s, z), s, z)
    return behind("DequantizeLinear")(b, x, w, bias)


def dynamic(b, x, w, bias):
    """Activations quantized at run time, products in integers."""
    scale = np.abs(w).max() / 127
    q, s, z = b.op("DynamicQuantizeLinear", x, outputs=3)
    y = b.op("MatMulInteger", q, b.const(np.round(w.T / scale), I8), z, b.const(0, I8))
    y = b.op("Mul", b.op("Cast", y, to=TensorProto.FLOAT), b.op("Mul", s, b.const(scale, F32)))
    return b.op("Add", y, b.const(bias))


# Activations, of a map without its bias.


def erf(b, y, bias):
    y = b.op("Add", y, b.const(bias))
    e = b.op("Add", b.op("Erf", b.op("Div", y, b.const(2 ** 0.5))), b.const(1.0))
    return b.op("Mul", b.op("Mul", y, e), b.const(0.5))


def bias_gelu(b, y, bias):
    return b.op("BiasGelu", y, b.const(bias), domain=MS)


def fast_gelu(b, y, bias):
    return b.op("FastGelu", y, b.const(bias), domain=MS)


def quick_gelu(b, y, bias):
    return b.op("QuickGelu", b.op("Add", y, b.const(bias)), domain=MS, alpha=1.702)


def gelu_20(b, y, bias):
    return b.op("Gelu", b.op("Add", y, b.const(bias)), approximate="tanh")


# Blocks.


def residual(attention, activation, linear=None, out=None):
    """Norm, attention, sum, norm, hidden layer, sum."""
    def block(b, x, p, m):
        y = attention(b, b.norm(x), p)
        y = b.op("Add", out(b, y, p["wo"]), b.const(p["bo"])) if out else (linear or Builder.linear)(b, y, p["wo"], p["bo"])
        x = b.op("Add", x, y)
        h = b.norm(x)
        if linear:
            h = activation(b, linear(b, h, m["w1"], 0 * m["b1"]), m["b1"])
            return b.op("Add", x, linear(b, h, m["w2"], m["b2"]))
        h = activation(b, b.op("MatMul", h, b.const(m["w1"].T)), m["b1"])
        return b.op("Add", x, b.linear(h, m["w2"], m["b2"]))
    return block


def skipping(attention, activation):
    """The sums and norms in SkipLayerNormalization, biases in it too."""
    def block(b, x, p, m):
        y = b.op("MatMul", attention(b, b.norm(x), p), b.const(p["wo"].T))
        h, _, _, x = b.op("SkipLayerNormalization", y, x, b.gamma(), b.beta(), b.const(p["bo"]), domain=MS, outputs=4, epsilon=1e-5)
        b.nodes[-1].output[1:3] = ["", ""]
        h = activation(b, b.op("MatMul", h, b.const(m["w1"].T)), m["b1"])
        return b.op("Add", x, b.linear(h, m["w2"], m["b2"]))
    return block


def rms(attention, activation):
    """RMSNormalization for LayerNormalization."""
    def block(b, x, p, m):
        norm = lambda x: b.op("RMSNormalization", x, b.gamma(), axis=-1, epsilon=1e-5)
        x = b.op("Add", x, b.linear(attention(b, norm(x), p), p["wo"], p["bo"]))
        h = activation(b, b.op("MatMul", norm(x), b.const(m["w1"].T)), m["b1"])
        return b.op("Add", x, b.linear(h, m["w2"], m["b2"]))
    return block


def noted(node, key, value):
    """Gives a node an entry of metadata, which this version of onnx does not know."""
    e = onnx.StringStringEntryProto(key=key, value=value).SerializeToString()
    node.MergeFromString(b"\x4a" + bytes([len(e)]) + e)


def functions(b):
    """Functions as the dynamo exporter writes them: of its library, and one per module."""
    lib, mod, n = "pkg.onnxscript.torch_lib", "pkg.vit", helper.make_node
    own = [helper.make_opsetid("", b.opset)]
    both = own + [helper.make_opsetid(lib, 1)]
    gelu = [n("Constant", [], ["two"], value_float=2 ** 0.5), n("Div", ["self", "two"], ["a"]), n("Erf", ["a"], ["e"]),
            n("Constant", [], ["one"], value_float=1.0), n("Add", ["e", "one"], ["f"]), n("Mul", ["self", "f"], ["g"]),
            n("Constant", [], ["half"], value_float=0.5), n("Mul", ["g", "half"], ["result"])]
    linear = [n("Transpose", ["weight"], ["t"], perm=[1, 0]), n("MatMul", ["x", "t"], ["y"]), n("Add", ["y", "bias"], ["result"])]
    cut = [n("Split", ["x"], ["q", "k", "v"], axis=-1, num_outputs=3)]
    for t in "qkv":
        cut += [n("Constant", [], [f"{t}_shape"], value_ints=[0, C.tokens, C.heads, C.qk]), n("Reshape", [t, f"{t}_shape"], [f"{t}_4"]),
                n("Transpose", [f"{t}_4"], [f"{t}_h"], perm=[0, 2, 1, 3])]
    attend = [n("aten_linear", ["x0", "w", "b"], ["x"], domain=lib)] + cut + [
        n("Transpose", ["k_h"], ["k_t"], perm=[0, 1, 3, 2]), n("MatMul", ["q_h", "k_t"], ["s"]),
        n("Constant", [], ["scale"], value_float=C.qk ** -0.5), n("Mul", ["s", "scale"], ["u"]), n("Softmax", ["u"], ["a"], axis=-1),
        n("MatMul", ["a", "v_h"], ["o"]), n("Transpose", ["o"], ["o_t"], perm=[0, 2, 1, 3]),
        n("Constant", [], ["o_shape"], value_ints=[0, C.tokens, C.dim]), n("Reshape", ["o_t", "o_shape"], ["o_3"]),
        n("aten_linear", ["o_3", "wo", "bo"], ["result"], domain=lib)]
    hidden = [n("aten_linear", ["x", "w1", "b1"], ["h"], domain=lib), n("aten_gelu", ["h"], ["g"], domain=lib),
              n("aten_linear", ["g", "w2", "b2"], ["result"], domain=lib)]
    make = helper.make_function
    b.functions = [make(lib, "aten_gelu", ["self"], ["result"], gelu, own), make(lib, "aten_linear", ["x", "weight", "bias"], ["result"], linear, own),
                   make(mod, "Attention", ["x0", "w", "b", "wo", "bo"], ["result"], attend, both),
                   make(mod, "Mlp", ["x", "w1", "b1", "w2", "b2"], ["result"], hidden, both)]
    b.domains |= {lib, mod}


def dynamo(b, x, p, m):
    if not b.functions:
        functions(b)
    packed = [b.const(np.concatenate([p[a + t] for t in "qkv"])) for a in "wb"]
    y = b.op("Attention", b.norm(x), *packed, b.const(p["wo"]), b.const(p["bo"]), domain="pkg.vit")
    noted(b.nodes[-1], "namespace", "vit.blocks.attn: Attention")
    x = b.op("Add", x, y)
    y = b.op("Mlp", b.norm(x), *(b.const(m[k]) for k in ("w1", "b1", "w2", "b2")), domain="pkg.vit")
    return b.op("Add", x, y)


ALL, NONE = dict(qk=2, vo=2, hidden=2), dict(qk=0, vo=0, hidden=0)
ROPE = dict(qk=0, vo=2, hidden=2)
HIDDEN = dict(qk=0, vo=0, hidden=2)
ORT, KERAS = "ONNX Runtime's optimizer: ", "tf2onnx: "


def of(lin):
    """Blocks all of whose linear maps are spelled alike."""
    return residual(lambda b, x, p: plain(b, x, p, lambda x, w, bias: lin(b, x, w, bias)), erf, lin)


# file: exporter, architecture, block, opset, planted, options
CASES = {
    "attention": (ORT + "Attention, SkipLayerNormalization, BiasGelu", "ViT", skipping(contrib, bias_gelu), 14, ALL, {}),
    "attention_bias": (ORT + "Attention with a bias, QuickGelu", "BEiT", residual(contrib_bias, quick_gelu), 11, ALL, {}),
    "multi_head": (ORT + "MultiHeadAttention, SkipLayerNormalization, FastGelu", "ViT", skipping(multi_head, fast_gelu), 17, ALL, {}),
    "fused_matmul": (ORT + "FusedMatMul, BiasGelu", "ViT", residual(fused_matmul, bias_gelu), 12, ALL, {}),
    "gemm": (ORT + "Gemm between reshapes", "ViT", of(gemm), 13, ALL, {}),
    "rotary_contrib": (ORT + "RotaryEmbedding", "ViT, rotary", residual(rotary_contrib, bias_gelu), 16, ROPE, {}),
    "onnx_attention": ("ONNX Attention, 3-D; Gelu", "ViT", residual(onnx_3d, gelu_20), 23, ALL, {}),
    "onnx_attention_4d": ("ONNX Attention, 4-D, masked; RMSNormalization", "ViT", rms(onnx_4d, gelu_20), 24, ALL, {}),
    "onnx_grouped": ("ONNX Attention, grouped queries", "ViT, grouped queries", residual(grouped, gelu_20), 23, HIDDEN, {}),
    "onnx_rotary": ("ONNX RotaryEmbedding", "ViT, rotary", residual(rotary_onnx, gelu_20), 23, ROPE, {}),
    "dynamo": ("PyTorch dynamo: functions, external data", "ViT", dynamo, 18, ALL, dict(external=True)),
    "keras": (KERAS + "EinsumDense, NHWC", "ViT", residual(keras, erf, out=keras_out), 13, ALL, dict(nhwc=True)),
    "keras_tensordot": (KERAS + "Tensordot, NHWC", "ViT", of(flat), 13, ALL, dict(nhwc=True)),
    "weights_transposed": ("weights behind Transpose", "ViT", of(behind("Transpose")), 14, ALL, {}),
    "weights_identity": ("weights behind Identity", "ViT", of(behind("Identity")), 14, ALL, {}),
    "weights_reshaped": ("weights behind Reshape", "ViT", of(behind("Reshape")), 14, ALL, {}),
    "weights_half": ("weights in fp16 behind Cast", "ViT", of(behind("Cast")), 14, ALL, dict(copies=True)),
    "weights_bfloat16": ("weights in bf16 behind Cast", "ViT", of(behind("bfloat16")), 14, ALL, dict(copies=True)),
    "half": ("fp16 throughout", "ViT", residual(plain, erf), 17, ALL, dict(elem=F16, copies=True)),
    "weights_int8": ("weights in int8 behind DequantizeLinear", "ViT", of(behind("DequantizeLinear")), 14, NONE, {}),
    "qdq": ("int8, QuantizeLinear and DequantizeLinear", "ViT", of(quantized), 14, NONE, {}),
    "dynamic_int8": ("int8, DynamicQuantizeLinear and MatMulInteger", "ViT", of(dynamic), 14, NONE, {}),
    "tied": ("plain; both blocks share their weights", "ViT", residual(plain, erf), 14, NONE, dict(tied=True)),
}


def copied(p):
    """Half of the rows of queries and values are copies, which they stay however they are rounded."""
    for k in "qv":
        for h in range(C.heads):
            at, half = h * C.qk, C.qk // 2
            for t in (p["w" + k], p["b" + k]):
                t[at + half:at + 2 * half] = t[at:at + half]
    return p


def model(block, opset, nhwc=False, elem=F32, tied=False, external=False, copies=False, builder=Builder):
    b = builder(opset, F32 if elem == "bf16" else elem)
    side, t = C.image // C.patch, C.tokens
    x = b.op("Transpose", "input", perm=[0, 3, 1, 2]) if nhwc else "input"
    x = b.op("Conv", x, b.random(0.15, C.dim, 3, C.patch, C.patch), b.beta(), kernel_shape=[C.patch] * 2, strides=[C.patch] * 2)
    if nhwc:
        x = b.reshape(b.op("Transpose", x, perm=[0, 2, 3, 1]), -1, side * side, C.dim)
    else:
        x = b.op("Transpose", b.reshape(x, 0, C.dim, t), perm=[0, 2, 1])
    x = b.op("Add", x, b.random(0.3, 1, t, C.dim))
    g = torch.Generator().manual_seed(3)
    shared = {}
    for i in range(C.depth):
        if i == 0 or not tied:
            p = {k: v.numpy() for k, v in planted.attention(C, g).items()}
            p = copied(p) if copies else p
            m = {k: v.numpy() for k, v in planted.mlp(C, g, False).items()}
        if tied and i == 1:
            const, b.const = b.const, lambda v, dtype=None: shared.get(np.asarray(v).tobytes()) or const(v, dtype)
        before = len(b.weights)
        x = block(b, x, p, m)
        if tied and i == 0:
            for w in b.weights[before:]:
                v = numpy_helper.to_array(w)
                if v.ndim == 2:
                    shared[v.tobytes()] = w.name
    if tied:
        b.const = const
    b.op("Gemm", b.mean(b.norm(x)), b.random(0.3, C.dim, C.classes), b.random(0.3, C.classes))
    b.nodes[-1].output[0] = "output"
    kind = {F16: TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}.get(elem, TensorProto.FLOAT)
    image = ["batch", C.image, C.image, 3] if nhwc else ["batch", 3, C.image, C.image]
    graph = helper.make_graph(b.nodes, "vit", [helper.make_tensor_value_info("input", kind, image)],
                              [helper.make_tensor_value_info("output", kind, ["batch", C.classes])], b.weights)
    opsets = [helper.make_opsetid(d, opset if d == "" else 1) for d in sorted(b.domains | {""})]
    return helper.make_model(graph, opset_imports=opsets, functions=b.functions, producer_name="fused.py", ir_version=10 if opset > 20 else 8)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "zoo", "fused"), metavar="DIR")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    entries = []
    for name, (exporter, architecture, block, opset, halves, options) in CASES.items():
        m = model(block, opset, **options)
        path = os.path.join(a.out, name + ".onnx")
        if options.get("external"):
            if os.path.exists(path + ".data"):
                os.remove(path + ".data")
            onnx.save_model(m, path, save_as_external_data=True, location=name + ".onnx.data", size_threshold=512)
        else:
            onnx.save_model(m, path)
        entries.append({"file": name + ".onnx", "exporter": exporter, "architecture": architecture, "planted": halves})
    with open(os.path.join(a.out, "index.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(e) for e in entries) + "\n]\n")


if __name__ == "__main__":
    main()
