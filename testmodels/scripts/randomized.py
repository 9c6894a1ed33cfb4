"""Random weights that leave no parameter at a trivial value.

The weights a model shares with others of its sizes depend on the sizes and the
seed alone, not on the spelling: tiny models of equal sizes compute the same
function.
"""

import torch

from vit import ViT


def normal(g, *shape, std):
    return torch.randn(*shape, generator=g) * std


def attention(c, g):
    """A random plain form of attention, with biases."""
    q, v = c.heads * c.qk, c.heads * c.vo
    std = 1.3 * c.dim ** -0.5
    return dict(wq=normal(g, q, c.dim, std=std), bq=normal(g, q, std=0.3),
                wk=normal(g, q, c.dim, std=std), bk=normal(g, q, std=0.3),
                wv=normal(g, v, c.dim, std=std), bv=normal(g, v, std=0.3),
                wo=normal(g, c.dim, v, std=v ** -0.5), bo=normal(g, c.dim, std=0.1))


def mlp(c, g, gated):
    """A random plain form of an MLP."""
    std = 1.3 * c.dim ** -0.5
    w = dict(w1=normal(g, c.hidden, c.dim, std=std), b1=normal(g, c.hidden, std=0.3),
             w2=normal(g, c.dim, c.hidden, std=1.3 * c.hidden ** -0.5), b2=normal(g, c.dim, std=0.1))
    if gated:
        w.update(wg=normal(g, c.hidden, c.dim, std=std), bg=normal(g, c.hidden, std=0.3))
    return w


def fill(named, g):
    """Fills parameters in the order of their names; scales lie around one."""
    with torch.no_grad():
        for name, p in sorted(named):
            scale = name.endswith(("gamma", "tau")) or ("norm" in name or ".sub." in name) and name.endswith("weight")
            free = p.ndim < 2 or scale or "token" in name or "pos" in name or "table" in name
            p.copy_(normal(g, *p.shape, std=0.3 if free else p[0].numel() ** -0.5) + float(scale))


def build(c, seed=0, attention=attention, mlp=mlp):
    """A ViT with random weights; attention and mlp make the plain forms of a block."""
    model = ViT(c)
    named = list(model.named_parameters())
    fill(named, torch.Generator().manual_seed(seed + 1))
    fill([(n, p) for n, p in named if ".attn." not in n and ".mlp." not in n and "gamma" not in n],
         torch.Generator().manual_seed(seed + 2))
    g = torch.Generator().manual_seed(seed)
    for b in model.blocks:
        b.attn.set(**attention(c, g))
        b.mlp.set(**mlp(c, g, b.mlp.gated))
    return model.eval()
