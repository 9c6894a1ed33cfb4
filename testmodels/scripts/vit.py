"""A pre-norm Vision Transformer whose attention and MLP are exchangeable parts.

Attention and MLP classes ("spellings", see spellings.py and oddities.py) compute the same
function with another sequence of operators and other parameter shapes. Their
weights are set from one plain form, so the same trained weights can be
exported in every spelling.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn as nn

from oddities import ATTENTION, MLP


@dataclass
class Config:
    """Sizes and spelling of a model; qk and vo are widths per head."""
    image: int = 48
    patch: int = 6
    dim: int = 96
    depth: int = 6
    heads: int = 3
    hidden: int = 384
    classes: int = 14
    qk: int = 0  # 0: dim / heads
    vo: int = 0  # 0: dim / heads
    attention: str = "packed"
    mlp: str = "gelu"
    pool: str = "cls"  # cls, mean (no class token) or two (distilled, two heads)
    layer_scale: bool = False
    parallel: bool = False  # attention and MLP side by side, on the same input
    tied: bool = False  # all blocks are one

    def __post_init__(self):
        self.qk = self.qk or self.dim // self.heads
        self.vo = self.vo or self.dim // self.heads

    @property
    def tokens(self):
        extra = {"cls": 1, "mean": 0, "two": 2}[self.pool]
        return (self.image // self.patch) ** 2 + extra

    def but(self, **changes):
        """The same configuration with some fields changed."""
        return replace(self, **changes)


class LayerScale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * self.gamma


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1 = nn.LayerNorm(c.dim, eps=1e-6)
        self.attn = ATTENTION[c.attention](c)
        self.ls1 = LayerScale(c.dim) if c.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(c.dim, eps=1e-6)
        self.mlp = MLP[c.mlp](c)
        self.parallel = c.parallel
        self.ls2 = LayerScale(c.dim) if c.layer_scale else nn.Identity()

    def forward(self, x):
        if self.parallel:
            return x + self.ls1(self.attn(self.norm1(x))) + self.ls2(self.mlp(self.norm2(x)))
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class ViT(nn.Module):
    """Images [B, 3, S, S] to logits [B, classes] (two of them if pool is "two")."""

    def __init__(self, c):
        super().__init__()
        self.config = c
        self.patch_embed = nn.Conv2d(3, c.dim, c.patch, stride=c.patch)
        if c.pool != "mean":
            self.cls_token = nn.Parameter(torch.zeros(1, 1, c.dim))
        if c.pool == "two":
            self.dist_token = nn.Parameter(torch.zeros(1, 1, c.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, c.tokens, c.dim))
        blocks = [Block(c)] * c.depth if c.tied else [Block(c) for _ in range(c.depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(c.dim, eps=1e-6)
        self.head = nn.Linear(c.dim, c.classes)
        if c.pool == "two":
            self.head_dist = nn.Linear(c.dim, c.classes)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        extra = [getattr(self, t).expand(x.shape[0], -1, -1)
                 for t in ("cls_token", "dist_token") if hasattr(self, t)]
        if extra:
            x = torch.cat(extra + [x], dim=1)
        x = self.norm(self.blocks(x + self.pos_embed))
        if self.config.pool == "mean":
            return self.head(x.mean(dim=1))
        if self.config.pool == "two":
            return self.head(x[:, 0]), self.head_dist(x[:, 1])
        return self.head(x[:, 0])


def convert(source, config):
    """The model of another configuration with the weights of source.

    Attention and MLP go through their plain form; a mean-pooled model drops the
    class token and its position. Parameters without a counterpart keep their
    initial value.
    """
    out = ViT(config)
    drop = source.config.tokens - out.config.tokens
    mine = out.state_dict()
    for k, v in source.state_dict().items():
        if k == "pos_embed":
            v = v[:, drop:]
        if k in mine and ".attn." not in k and ".mlp." not in k:
            mine[k].copy_(v)
    for a, b in zip(source.blocks, out.blocks):
        b.attn.set(**a.attn.plain())
        b.mlp.set(**a.mlp.plain())
    return out.eval()


def torchvision_model(source):
    """torchvision's VisionTransformer with the weights of source (which has a class token)."""
    from torchvision.models.vision_transformer import VisionTransformer
    c = source.config
    out = VisionTransformer(image_size=c.image, patch_size=c.patch, num_layers=c.depth, num_heads=c.heads,
                            hidden_dim=c.dim, mlp_dim=c.hidden, num_classes=c.classes)
    to = {"class_token": source.cls_token, "conv_proj.weight": source.patch_embed.weight,
          "conv_proj.bias": source.patch_embed.bias, "encoder.pos_embedding": source.pos_embed,
          "encoder.ln.weight": source.norm.weight, "encoder.ln.bias": source.norm.bias,
          "heads.head.weight": source.head.weight, "heads.head.bias": source.head.bias}
    for i, b in enumerate(source.blocks):
        p = f"encoder.layers.encoder_layer_{i}."
        a, m = b.attn.plain(), b.mlp.plain()
        to.update({p + "ln_1.weight": b.norm1.weight, p + "ln_1.bias": b.norm1.bias,
                   p + "ln_2.weight": b.norm2.weight, p + "ln_2.bias": b.norm2.bias,
                   p + "self_attention.in_proj_weight": torch.cat([a["wq"], a["wk"], a["wv"]]),
                   p + "self_attention.in_proj_bias": torch.cat([a["bq"], a["bk"], a["bv"]]),
                   p + "self_attention.out_proj.weight": a["wo"], p + "self_attention.out_proj.bias": a["bo"],
                   p + "mlp.0.weight": m["w1"], p + "mlp.0.bias": m["b1"],
                   p + "mlp.3.weight": m["w2"], p + "mlp.3.bias": m["b2"]})
    out.load_state_dict(to)
    return out.eval()
