#!/usr/bin/env python3
"""Writes a full-size Vision Transformer with random weights, without tracing one.

For measuring time and memory on large files: the graph is put together from
operator definitions, and weights go to disk as they are drawn, so that the
script needs little memory itself. Weights lie in OUT.data beside the model, or
inside it with --embedded, as long as that stays below 2 GB.
"""

import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper

# image, patch, dim, depth, heads
SIZES = {"deit-b": (224, 16, 768, 12, 12), "vit-l": (224, 16, 1024, 24, 16), "vit-h": (224, 14, 1280, 32, 16)}
CLASSES = 1000


class Writer:
    """Nodes and weights of one model; weights are written out at once."""

    def __init__(self, path, embedded, seed):
        self.nodes, self.weights, self.count = [], [], 0
        self.rng = np.random.default_rng(seed)
        self.name = path.rsplit("/", 1)[-1] + ".data"
        self.file = None if embedded else open(path + ".data", "wb")

    def op(self, kind, *inputs, **attrs):
        self.count += 1
        name = f"v{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], f"{kind}_{self.count}", **attrs))
        return name

    def ints(self, *xs):
        self.count += 1
        self.weights.append(helper.make_tensor(f"c{self.count}", TensorProto.INT64, [len(xs)], xs))
        return f"c{self.count}"

    def scalar(self, x):
        self.count += 1
        kind = TensorProto.INT64 if isinstance(x, int) else TensorProto.FLOAT
        self.weights.append(helper.make_tensor(f"c{self.count}", kind, [], [x]))
        return f"c{self.count}"

    def floats(self, scale, *dims, shift=0.0):
        self.count += 1
        x = self.rng.standard_normal(dims, dtype=np.float32)
        x *= scale
        x += shift
        t = TensorProto(name=f"w{self.count}", data_type=TensorProto.FLOAT, dims=dims)
        if self.file is None:
            t.raw_data = x.tobytes()
        else:
            self.file.write(b"\0" * (-self.file.tell() % 4096))
            t.data_location = TensorProto.EXTERNAL
            for k, v in (("location", self.name), ("offset", self.file.tell()), ("length", x.nbytes)):
                t.external_data.add(key=k, value=str(v))
            x.tofile(self.file)
        self.weights.append(t)
        return t.name

    def linear(self, x, n, m, scale=1.0):
        y = self.op("MatMul", x, self.floats(scale / n ** 0.5, n, m))
        return self.op("Add", y, self.floats(0.02, m))

    def norm(self, x, d):
        return self.op("LayerNormalization", x, self.floats(0.02, d, shift=1.0), self.floats(0.02, d), axis=-1, epsilon=1e-6)


def vit(w, image, patch, dim, depth, heads):
    tokens, width = (image // patch) ** 2, dim // heads
    x = w.op("Conv", "input", w.floats((3 * patch * patch) ** -0.5, dim, 3, patch, patch), w.floats(0.02, dim),
             kernel_shape=[patch, patch], strides=[patch, patch])
    x = w.op("Transpose", w.op("Reshape", x, w.ints(0, dim, tokens)), perm=[0, 2, 1])
    x = w.op("Add", x, w.floats(0.2, 1, tokens, dim))
    for _ in range(depth):
        qkv = w.op("Reshape", w.linear(w.norm(x, dim), dim, 3 * dim), w.ints(0, tokens, 3, heads, width))
        qkv = w.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
        q, k, v = (w.op("Gather", qkv, w.scalar(i), axis=0) for i in range(3))
        s = w.op("Mul", w.op("MatMul", q, w.op("Transpose", k, perm=[0, 1, 3, 2])), w.scalar(width ** -0.5))
        y = w.op("Transpose", w.op("MatMul", w.op("Softmax", s, axis=-1), v), perm=[0, 2, 1, 3])
        y = w.linear(w.op("Reshape", y, w.ints(0, tokens, dim)), dim, dim, (2 * depth) ** -0.5)
        x = w.op("Add", x, y)
        h = w.linear(w.norm(x, dim), dim, 4 * dim)
        e = w.op("Add", w.op("Erf", w.op("Div", h, w.scalar(2 ** 0.5))), w.scalar(1.0))
        h = w.op("Mul", w.op("Mul", h, e), w.scalar(0.5))
        x = w.op("Add", x, w.linear(h, 4 * dim, dim, (2 * depth) ** -0.5))
    x = w.op("ReduceMean", w.norm(x, dim), axes=[1], keepdims=0)
    w.nodes[-1].output[0] = "pooled"
    y = w.linear("pooled", dim, CLASSES)
    w.nodes[-1].output[0] = "output"
    return y


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", help="file to write")
    p.add_argument("--size", choices=SIZES, default="vit-l")
    p.add_argument("--image", type=int, help="side of the image in pixels")
    p.add_argument("--embedded", action="store_true", help="weights inside the model file")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    image, patch, dim, depth, heads = SIZES[a.size]
    image = a.image or image
    w = Writer(a.out, a.embedded, a.seed)
    vit(w, image, patch, dim, depth, heads)
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, image, image])
    y = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", CLASSES])
    g = helper.make_graph(w.nodes, "vit", [x], [y], w.weights)
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="large.py")
    with open(a.out, "wb") as f:
        f.write(m.SerializeToString())
    if w.file:
        w.file.close()


if __name__ == "__main__":
    main()
