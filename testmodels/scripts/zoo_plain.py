"""Vision Transformers of one resolution: 16x16 images, patches of 4, two blocks of width 16.

The operators follow timm, Hugging Face and the authors' own sources in kind
and order; sizes are tiny, weights random (see plant.py).
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import plant

DIM, HEADS, HIDDEN, CLASSES = 16, 2, 32, 10
WIDTH = DIM // HEADS


class Fused(torch.autograd.Function):
    """F.scaled_dot_product_attention as the exporter of PyTorch 2 writes it."""

    @staticmethod
    def forward(ctx, q, k, v):
        return ((q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v

    @staticmethod
    def symbolic(g, q, k, v):
        def const(x):
            return g.op("Constant", value_t=x)
        width = g.op("Slice", g.op("Shape", q), const(torch.tensor([-1])), const(torch.tensor([2 ** 63 - 1])))
        scale = g.op("Div", const(torch.tensor([1.0])), g.op("Sqrt", g.op("Cast", width, to_i=1)))
        q = g.op("Mul", q, g.op("Sqrt", scale))
        k = g.op("Mul", g.op("Transpose", k, perm_i=[0, 1, 3, 2]), g.op("Sqrt", scale))
        return g.op("MatMul", g.op("Softmax", g.op("MatMul", q, k), axis_i=-1), v)


class Attention(nn.Module):
    """timm's packed attention, fused or not, with its hooks for norms, rotation and biases."""

    planted = ("qk", "vo")

    def __init__(self, dim=DIM, heads=HEADS, bias=True, fused=False):
        super().__init__()
        self.heads, self.scale, self.fused = heads, (dim // heads) ** -0.5, fused
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)

    def plant(self, g):
        h = self.heads
        if "qk" in self.planted:
            plant.qk(g, plant.of(self.qkv, h, 0, 3), plant.of(self.qkv, h, 1, 3))
        if "vo" in self.planted:
            plant.vo(g, plant.of(self.qkv, h, 2, 3), plant.columns(self.proj, h))

    def project(self, x):
        return self.qkv(x)

    def head(self, q, k):
        return q, k

    def bias(self, s):
        return s

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.project(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q, k = self.head(q, k)
        if self.fused:
            x = Fused.apply(q, k, v)
        else:
            q = q * self.scale
            attn = self.bias(q @ k.transpose(-2, -1)).softmax(dim=-1)
            x = attn @ v
        x = x.transpose(1, 2).reshape(B, N, C)
        return self.proj(x)


class Mlp(nn.Module):
    def __init__(self, dim=DIM, hidden=HIDDEN, out=None, act=F.gelu):
        super().__init__()
        self.fc1, self.fc2, self.act = nn.Linear(dim, hidden), nn.Linear(hidden, out or dim), act

    def plant(self, g):
        plant.hidden(g, self.fc1.weight, self.fc1.bias)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class LayerScale(nn.Module):
    def __init__(self, dim=DIM):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * self.gamma


class Block(nn.Module):
    """A block whose norms stand before ("pre"), behind the sum ("post"), or behind the branch ("res")."""

    def __init__(self, attn=None, mlp=None, dim=DIM, scale=False, order="pre", eps=1e-6):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=eps), nn.LayerNorm(dim, eps=eps)
        self.attn, self.mlp = attn or Attention(), mlp or Mlp()
        self.ls1 = LayerScale(dim) if scale else nn.Identity()
        self.ls2 = LayerScale(dim) if scale else nn.Identity()
        self.order = order

    def forward(self, x):
        if self.order == "post":
            x = self.norm1(x + self.attn(x))
            return self.norm2(x + self.mlp(x))
        if self.order == "res":
            x = x + self.norm1(self.attn(x))
            return x + self.norm2(self.mlp(x))
        if self.order == "parallel":
            return x + self.ls1(self.attn(self.norm1(x))) + self.ls2(self.mlp(self.norm2(x)))
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Vit(nn.Module):
    """Patches, prefix tokens, blocks, a norm, and head(tokens)."""

    image = 16

    def __init__(self, block=Block, prefix=1, depth=2, classes=CLASSES, patch_bias=True):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, DIM, 4, stride=4, bias=patch_bias)
        self.prefix = nn.ParameterList([nn.Parameter(torch.zeros(1, 1, DIM)) for _ in range(prefix)])
        self.pos_embed = nn.Parameter(torch.zeros(1, 16 + prefix, DIM))
        self.blocks = nn.ModuleList([block() for _ in range(depth)])
        self.norm = nn.LayerNorm(DIM, eps=1e-6)
        self.head = nn.Linear(DIM, classes) if classes else nn.Identity()

    def embed(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        if len(self.prefix):
            x = torch.cat([p.expand(x.shape[0], -1, -1) for p in self.prefix] + [x], dim=1)
        return x + self.pos_embed

    def features(self, x):
        x = self.embed(x)
        for b in self.blocks:
            x = b(x)
        return x

    def forward(self, x):
        return self.head(self.norm(self.features(x))[:, 0])


def vit():
    return Vit()


def vit_fused():
    return Vit(lambda: Block(Attention(fused=True)))


class Distilled(Vit):
    """DeiT distilled: class and distillation token, two heads, averaged."""

    def __init__(self):
        super().__init__(prefix=2)
        self.head_dist = nn.Linear(DIM, CLASSES)

    def forward(self, x):
        x = self.norm(self.features(x))
        x, x_dist = x[:, 0], x[:, 1]
        return (self.head(x) + self.head_dist(x_dist)) / 2


def relative_index(side, extra):
    """Positions in BEiT's bias table for a window of side x side and, if extra, a class token."""
    coords = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
    rel = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0) + side - 1
    index = rel[..., 0] * (2 * side - 1) + rel[..., 1]
    if not extra:
        return index, (2 * side - 1) ** 2
    n = (2 * side - 1) ** 2 + 3
    full = torch.zeros(side * side + 1, side * side + 1, dtype=torch.long)
    full[1:, 1:] = index
    full[0, :], full[:, 0], full[0, 0] = n - 3, n - 2, n - 1
    return full, n


class BeitAttention(Attention):
    """q and v have a bias, k has none; a relative position bias is added to the logits."""

    def __init__(self):
        super().__init__(bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(DIM)), nn.Parameter(torch.zeros(DIM))
        self.register_buffer("k_bias", torch.zeros(DIM))
        index, n = relative_index(4, True)
        self.register_buffer("index", index)
        self.table = nn.Parameter(torch.zeros(n, self.heads))

    def plant(self, g):
        h, (q, k, v) = self.heads, self.qkv.weight.chunk(3)
        plant.qk(g, plant.per_head(q, self.q_bias, h), plant.per_head(k, None, h))
        plant.vo(g, plant.per_head(v, self.v_bias, h), plant.columns(self.proj, h))

    def project(self, x):
        return F.linear(x, self.qkv.weight, torch.cat((self.q_bias, self.k_bias, self.v_bias)))

    def bias(self, s):
        n = self.index.shape[0]
        b = self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous()
        return s + b.unsqueeze(0)


class Beit(Vit):
    """BEiT: LayerScale, no class token in the head: the patches' mean, a norm, a linear map."""

    def __init__(self):
        super().__init__(lambda: Block(BeitAttention(), scale=True))

    def forward(self, x):
        return self.head(self.norm(self.features(x)[:, 1:].mean(dim=1)))


class TalkingHeads(Attention):
    """CaiT: a linear map over the heads before the softmax, and one behind it."""

    def __init__(self):
        super().__init__()
        self.proj_l, self.proj_w = nn.Linear(self.heads, self.heads), nn.Linear(self.heads, self.heads)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * self.scale, qkv[1], qkv[2]
        attn = self.proj_l((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        attn = self.proj_w(attn.softmax(dim=-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class ClassAttention(nn.Module):
    """Only the class token asks; three linear maps."""

    def __init__(self):
        super().__init__()
        self.heads, self.scale = HEADS, WIDTH ** -0.5
        self.q, self.k, self.v = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        self.proj = nn.Linear(DIM, DIM)

    def plant(self, g):
        h = self.heads
        plant.qk(g, plant.of(self.q, h), plant.of(self.k, h))
        plant.vo(g, plant.of(self.v, h), plant.columns(self.proj, h))

    def forward(self, x):
        B, N, C = x.shape
        q = self.q(x[:, 0]).unsqueeze(1).reshape(B, 1, self.heads, C // self.heads).permute(0, 2, 1, 3)
        k = self.k(x).reshape(B, N, self.heads, C // self.heads).permute(0, 2, 1, 3)
        v = self.v(x).reshape(B, N, self.heads, C // self.heads).permute(0, 2, 1, 3)
        attn = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, 1, C))


class ClassBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.attn, self.mlp = ClassAttention(), Mlp()
        self.gamma_1, self.gamma_2 = nn.Parameter(torch.ones(DIM)), nn.Parameter(torch.ones(DIM))

    def forward(self, x, cls):
        u = torch.cat((cls, x), dim=1)
        cls = cls + self.gamma_1 * self.attn(self.norm1(u))
        return cls + self.gamma_2 * self.mlp(self.norm2(cls))


class Cait(Vit):
    """CaiT: talking heads on the patches, then two blocks in which the class token attends."""

    def __init__(self):
        super().__init__(lambda: Block(TalkingHeads(), scale=True), prefix=0)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.late = nn.ModuleList([ClassBlock(), ClassBlock()])

    def forward(self, x):
        x = self.features(x)
        cls = self.cls_token.expand(x.shape[0], -1, -1)
        for b in self.late:
            cls = b(x, cls)
        return self.head(self.norm(torch.cat((cls, x), dim=1))[:, 0])


class SwiGluPacked(nn.Module):
    """Gate and value out of one linear map; which comes first differs."""

    def __init__(self, gate_first=True, act=F.silu):
        super().__init__()
        self.w12, self.w3 = nn.Linear(DIM, 2 * HIDDEN), nn.Linear(HIDDEN, DIM)
        self.first, self.act = gate_first, act

    def plant(self, g):
        plant.hidden(g, *[p.view(2, HIDDEN, -1).transpose(0, 1) for p in (self.w12.weight.data, self.w12.bias.data)])

    def forward(self, x):
        a, b = self.w12(x).chunk(2, dim=-1)
        return self.w3(self.act(a) * b if self.first else a * self.act(b))


class Dinov2(Vit):
    """DINOv2 with registers: features of the class token and of the patches, no classifier."""

    def __init__(self):
        super().__init__(lambda: Block(mlp=SwiGluPacked(), scale=True), classes=0)
        self.register_tokens = nn.Parameter(torch.zeros(1, 4, DIM))

    def embed(self, x):
        x = super().embed(x)
        return torch.cat((x[:, :1], self.register_tokens.expand(x.shape[0], -1, -1), x[:, 1:]), dim=1)

    def forward(self, x):
        x = self.norm(self.features(x))
        return x[:, 0], x[:, 5:]


def geglu():
    """A ViT whose MLP is gated by GELU, value first, as in diffusers and timm's GluMlp."""
    return Vit(lambda: Block(mlp=SwiGluPacked(gate_first=False, act=F.gelu)))


def angles(half):
    """Rotary tables for 4x4 patches: [16, WIDTH] of sines and of cosines."""
    t = torch.arange(4.0)
    bands = 1.0 / (100 ** (torch.arange(WIDTH // 4) / (WIDTH // 4)))
    grid = torch.stack(torch.meshgrid(t, t, indexing="ij"), -1).flatten(0, 1)
    a = (grid[:, :, None] * bands).flatten(1)
    a = torch.cat([a, a], 1) if half else a.repeat_interleave(2, -1)
    return a.sin(), a.cos()


def rot(x):
    return torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat([-b, a], dim=-1)


class Rotary(Attention):
    """Queries and keys of the patches, not of prefix tokens, are rotated by position; k has no bias."""

    planted = ("vo",)

    def __init__(self, half):
        super().__init__()
        self.half = half
        sin, cos = angles(half)
        self.register_buffer("sin", sin)
        self.register_buffer("cos", cos)

    def turn(self, x):
        head, x = x[:, :, :1, :], x[:, :, 1:, :]
        x = x * self.cos + (rotate_half(x) if self.half else rot(x)) * self.sin
        return torch.cat([head, x], dim=2)

    def head(self, q, k):
        return self.turn(q), self.turn(k)


class SwiGlu(nn.Module):
    """EVA-02: gate and value from two linear maps, in the larger models with a norm behind their product."""

    def __init__(self, norm=False):
        super().__init__()
        self.fc1_g, self.fc1_x, self.fc2 = nn.Linear(DIM, HIDDEN), nn.Linear(DIM, HIDDEN), nn.Linear(HIDDEN, DIM)
        self.norm = nn.LayerNorm(HIDDEN) if norm else None

    def plant(self, g):
        if self.norm is None:
            plant.hidden(g, self.fc1_g.weight, self.fc1_g.bias, self.fc1_x.weight, self.fc1_x.bias)

    def forward(self, x):
        x = F.silu(self.fc1_g(x)) * self.fc1_x(x)
        return self.fc2(x if self.norm is None else self.norm(x))


def eva02():
    return Vit(lambda: Block(Rotary(False), SwiGlu()))


def eva02_subnorm():
    return Vit(lambda: Block(Rotary(False), SwiGlu(norm=True)))


class RotarySeparate(Rotary):
    """DINOv3 as in Hugging Face: three linear maps, the key's without bias."""

    def __init__(self):
        super().__init__(True)
        del self.qkv
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM, bias=False), nn.Linear(DIM, DIM)

    def plant(self, g):
        plant.vo(g, plant.of(self.v_proj, self.heads), plant.columns(self.proj, self.heads))

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = (f(x).view(B, N, self.heads, WIDTH).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        q, k = self.head(q, k)
        attn = (torch.matmul(q, k.transpose(2, 3)) * self.scale).softmax(dim=-1)
        return self.proj(torch.matmul(attn, v).transpose(1, 2).contiguous().reshape(B, N, C))


class Dinov3(Vit):
    """DINOv3: rotary embedding, LayerScale, the pooled class token and all tokens as outputs."""

    def __init__(self):
        super().__init__(lambda: Block(RotarySeparate(), scale=True), classes=0)

    def forward(self, x):
        x = self.norm(self.features(x))
        return x, x[:, 0, :]


class QueryKeyNorm(Attention):
    """ViT-22B: a layer norm over each head's queries and keys."""

    planted = ("vo",)

    def __init__(self):
        super().__init__()
        self.q_norm, self.k_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def head(self, q, k):
        return self.q_norm(q), self.k_norm(k)


def vit22b():
    return Vit(lambda: Block(QueryKeyNorm(), order="parallel"))


class ParallelScaling(nn.Module):
    """timm's ParallelScalingBlock: one linear map gives the hidden layer, queries, keys and values."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(DIM)
        self.in_proj = nn.Linear(DIM, HIDDEN + 3 * DIM)
        self.q_norm, self.k_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn_out, self.mlp_out = nn.Linear(DIM, DIM), nn.Linear(HIDDEN, DIM)

    def plant(self, g):
        w, b = self.in_proj.weight, self.in_proj.bias
        plant.vo(g, plant.per_head(w[-DIM:], b[-DIM:], HEADS), plant.columns(self.attn_out, HEADS))
        plant.hidden(g, w[:HIDDEN], b[:HIDDEN])

    def forward(self, x):
        B, N, C = x.shape
        h, q, k, v = torch.split(self.in_proj(self.norm(x)), [HIDDEN, DIM, DIM, DIM], dim=-1)
        q = self.q_norm(q.view(B, N, HEADS, WIDTH)).transpose(1, 2)
        k = self.k_norm(k.view(B, N, HEADS, WIDTH)).transpose(1, 2)
        v = v.view(B, N, HEADS, WIDTH).transpose(1, 2)
        attn = ((q * WIDTH ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        a = self.attn_out((attn @ v).transpose(1, 2).reshape(B, N, C))
        return x + (a + self.mlp_out(F.gelu(h)))


def vit22b_one_map():
    return Vit(ParallelScaling)


class TwoByTwo(nn.Module):
    """timm's ParallelThingsBlock: two attentions side by side, then two MLPs."""

    def __init__(self):
        super().__init__()
        branch = lambda f: nn.Sequential(nn.LayerNorm(DIM), f, LayerScale())
        self.attns = nn.ModuleList([branch(Attention()), branch(Attention())])
        self.ffns = nn.ModuleList([branch(Mlp()), branch(Mlp())])

    def forward(self, x):
        x = x + torch.stack([a(x) for a in self.attns]).sum(dim=0)
        return x + torch.stack([f(x) for f in self.ffns]).sum(dim=0)


def parallel_things():
    return Vit(TwoByTwo, depth=1)


def post_norm():
    return Vit(lambda: Block(order="post"))


def res_post_norm():
    return Vit(lambda: Block(order="res"))


class HfAttention(nn.Module):
    """Hugging Face's ViT before its fused attention: view, permute, scores divided by the root."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        self.dense = nn.Linear(DIM, DIM)

    def plant(self, g):
        plant.qk(g, plant.of(self.query, HEADS), plant.of(self.key, HEADS))
        plant.vo(g, plant.of(self.value, HEADS), plant.columns(self.dense, HEADS))

    def split(self, x):
        return x.view(x.size()[:-1] + (HEADS, WIDTH)).permute(0, 2, 1, 3)

    def forward(self, x, mask=None):
        mixed = self.query(x)
        k, v, q = self.split(self.key(x)), self.split(self.value(x)), self.split(mixed)
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(WIDTH)
        if mask is not None:
            scores = scores + mask
        context = torch.matmul(F.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        return self.dense(context.view(context.size()[:-2] + (DIM,)))


def vit_hf():
    return Vit(lambda: Block(HfAttention()))


class Unpacked(Attention):
    """Packed weights, taken apart in one of several ways."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        B, N, C = x.shape
        h, w = self.heads, C // self.heads
        if self.how == "chunk":
            q, k, v = (t.reshape(B, N, h, w).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        else:
            q, k, v = self.qkv(x).view(B, N, 3, h, w).unbind(2)
        if self.how == "einsum":
            attn = torch.einsum("bnhd,bmhd->bhnm", q * self.scale, k).softmax(dim=-1)
            return self.proj(torch.einsum("bhnm,bmhd->bnhd", attn, v).reshape(B, N, C))
        if self.how == "unbind":
            q, k, v = (t.permute(0, 2, 1, 3) for t in (q, k, v))
        attn = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).flatten(2))


def vit_chunk():
    return Vit(lambda: Block(Unpacked("chunk")))


def vit_unbind():
    return Vit(lambda: Block(Unpacked("unbind")))


def vit_einsum():
    return Vit(lambda: Block(Unpacked("einsum")))


class ProbePool(nn.Module):
    """SigLIP as in Hugging Face: a learned probe asks the tokens through nn.MultiheadAttention."""

    def __init__(self):
        super().__init__()
        self.probe = nn.Parameter(torch.zeros(1, 1, DIM))
        self.attention = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
        self.norm, self.mlp = nn.LayerNorm(DIM, eps=1e-6), Mlp(act=lambda x: F.gelu(x, approximate="tanh"))

    def plant(self, g):
        a = self.attention
        plant.vo(g, plant.per_head(a.in_proj_weight[2 * DIM:], a.in_proj_bias[2 * DIM:], HEADS), plant.columns(a.out_proj, HEADS))

    def forward(self, x):
        x = self.attention(self.probe.repeat(x.shape[0], 1, 1), x, x)[0]
        return (x + self.mlp(self.norm(x)))[:, 0]


class LatentPool(nn.Module):
    """timm's AttentionPoolLatent: the query is a constant."""

    def __init__(self):
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(1, 1, DIM))
        self.q, self.kv, self.proj = nn.Linear(DIM, DIM), nn.Linear(DIM, 2 * DIM), nn.Linear(DIM, DIM)
        self.norm, self.mlp = nn.LayerNorm(DIM), Mlp()

    def plant(self, g):
        plant.vo(g, plant.of(self.kv, HEADS, 1, 2), plant.columns(self.proj, HEADS))

    def forward(self, x):
        B, N, C = x.shape
        q = self.q(self.latent.expand(B, -1, -1)).reshape(B, 1, HEADS, WIDTH).transpose(1, 2)
        k, v = self.kv(x).reshape(B, N, 2, HEADS, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
        attn = ((q * WIDTH ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        x = self.proj((attn @ v).transpose(1, 2).reshape(B, 1, C))
        x = x + self.mlp(self.norm(x))
        return x[:, 0]


class Siglip(Vit):
    """SigLIP: no class token, tanh GELU, attention pooling; the pooled vector is the output."""

    def __init__(self, pool, classes=0):
        tanh = lambda x: F.gelu(x, approximate="tanh")
        super().__init__(lambda: Block(HfAttention(), Mlp(act=tanh)), prefix=0, classes=classes)
        self.pool = pool()

    def forward(self, x):
        return self.head(self.pool(self.norm(self.features(x))))


class ClipAttention(nn.Module):
    """nn.MultiheadAttention, sequence first."""

    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(DIM, HEADS)

    def plant(self, g):
        w, b = self.attn.in_proj_weight.chunk(3), self.attn.in_proj_bias.chunk(3)
        plant.qk(g, plant.per_head(w[0], b[0], HEADS), plant.per_head(w[1], b[1], HEADS))
        plant.vo(g, plant.per_head(w[2], b[2], HEADS), plant.columns(self.attn.out_proj, HEADS))

    def forward(self, x):
        return self.attn(x, x, x, need_weights=False)[0]


class Clip(Vit):
    """CLIP's vision tower: a norm before the blocks, QuickGELU, a projection of the class token."""

    def __init__(self):
        quick = lambda x: x * torch.sigmoid(1.702 * x)
        super().__init__(lambda: Block(ClipAttention(), Mlp(act=quick), eps=1e-5), classes=0, patch_bias=False)
        self.ln_pre = nn.LayerNorm(DIM)
        self.proj = nn.Parameter(torch.zeros(DIM, 12))

    def forward(self, x):
        x = self.ln_pre(self.embed(x)).permute(1, 0, 2)
        for b in self.blocks:
            x = b(x)
        return self.norm(x.permute(1, 0, 2)[:, 0, :]) @ self.proj
