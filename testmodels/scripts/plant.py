"""Random weights for the zoo, with redundancy planted in every part that may be pruned.

A module that has a plant(g) method is called after its weights were drawn. It
says which of its tensors belong together:

  qk(g, queries, keys)    per head, [Wq|bq]^T [Wk|bk] gets half the rank of the head width
  vo(g, values, outputs)  per head, [Wv|bv]^T Wo^T does
  hidden(g, *tensors)     hidden neurons, the rows of every tensor, become pairs of copies

and so how many sites of the model can lose half of their width without a
trace; build() counts them.
"""

import torch
import torch.nn as nn

from planted import halved


class Count(dict):
    """How many sites have a planted half, by part."""

    def __init__(self):
        super().__init__(qk=0, vo=0, hidden=0)


count = Count()


def per_head(weight, bias, heads):
    """A linear map's rows as one (weight, bias) per head; without a bias, None stands for it."""
    ws = weight.data.flatten(1).chunk(heads)
    return list(zip(ws, bias.data.chunk(heads) if bias is not None else [None] * heads))


def of(linear, heads, part=0, parts=1):
    """Heads of one of several equal parts of a linear map or 1x1 convolution."""
    n = linear.weight.shape[0] // parts
    b = linear.bias[part * n:(part + 1) * n] if linear.bias is not None else None
    return per_head(linear.weight[part * n:(part + 1) * n], b, heads)


def columns(linear, heads):
    """The input columns of an output projection, one block per head."""
    return list(linear.weight.data.flatten(1).chunk(heads, dim=1))


def hat(w, b):
    return torch.cat([w, torch.zeros(len(w), 1) if b is None else b[:, None]], 1)


def put(w, b, x):
    w.copy_(x[:, :-1])
    if b is not None:
        b.copy_(x[:, -1])


def qk(g, queries, keys):
    for (wq, bq), (wk, bk) in zip(queries, keys):
        a, b = halved(hat(wq, bq), hat(wk, bk), g)
        put(wq, bq, a)
        put(wk, bk, b)
    count["qk"] += 1


def vo(g, values, outputs):
    for (wv, bv), wo in zip(values, outputs):
        a, b = halved(hat(wv, bv), wo.T, g)
        put(wv, bv, a)
        wo.copy_(b.T)
    count["vo"] += 1


def hidden(g, *tensors):
    order = torch.randperm(len(tensors[0]), generator=g)
    for t in tensors:
        if t is not None:
            t.data[order[1::2]] = t.data[order[::2]]
    count["hidden"] += 1


def fill(model, g):
    """Draws every parameter and running statistic; scales lie around one."""
    def normal(t, std, mean=0.0):
        t.copy_(torch.randn(t.shape, generator=g) * std + mean)

    for m in model.modules():
        norm = isinstance(m, (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm))
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            normal(m.running_mean, 0.2)
            m.running_var.copy_(torch.rand(m.running_var.shape, generator=g) + 0.6)
        for name, p in m.named_parameters(recurse=False):
            if norm or "gamma" in name or "alpha" in name:
                normal(p, 0.2, float(not name.endswith(("bias", "beta"))))
            elif p.ndim > 1 and name.endswith("weight"):
                normal(p, 1.2 * p[0].numel() ** -0.5)
            else:
                normal(p, 0.3)


def build(model, seed=0):
    """The model with random weights, and how many sites have half of a width planted as redundant."""
    global count
    count = Count()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        fill(model, g)
        for m in model.modules():
            if hasattr(m, "plant"):
                m.plant(g)
    return model.eval(), dict(count)
