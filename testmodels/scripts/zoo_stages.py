"""Hierarchical transformers: 16x16 images, 8x8 patches of 2, stages of widths 8 and 16, heads of 8."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import plant
from zoo_plain import Attention, Mlp, relative_index

CLASSES = 10


def partition(x, w):
    B, H, W, C = x.shape
    x = x.view(B, H // w, w, W // w, w, C)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, w, w, C)


def reverse(windows, w, H, W):
    x = windows.view(-1, H // w, W // w, w, w, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, H, W, windows.shape[-1])


def shift_mask(side, w, shift):
    """[windows, w*w, w*w]: 0 within a region, -100 between regions that the roll brought together."""
    mask, n = torch.zeros(1, side, side, 1), 0
    cuts = (slice(0, -w), slice(-w, -shift), slice(-shift, None))
    for a in cuts:
        for b in cuts:
            mask[:, a, b, :], n = n, n + 1
    m = partition(mask, w).view(-1, w * w)
    m = m.unsqueeze(1) - m.unsqueeze(2)
    return m.masked_fill(m != 0, -100.0).masked_fill(m == 0, 0.0)


class WindowAttention(Attention):
    """Swin: attention within a window, with a relative position bias and the mask of shifted windows."""

    def __init__(self, dim, heads, window):
        super().__init__(dim, heads)
        index, n = relative_index(window, False)
        self.register_buffer("index", index)
        self.table = nn.Parameter(torch.zeros(n, heads))

    def position(self):
        n = self.index.shape[0]
        return self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous()

    def logits(self, q, k):
        return (q * self.scale) @ k.transpose(-2, -1)

    def forward(self, x, mask=None):
        B, N, C = x.shape
        qkv = self.project(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn = self.logits(q, k) + self.position().unsqueeze(0)
        if mask is not None:
            nw = mask.shape[0]
            attn = attn.view(-1, nw, self.heads, N, N) + mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, self.heads, N, N)
        x = (attn.softmax(dim=-1) @ v).transpose(1, 2).reshape(B, N, C)
        return self.proj(x)


class CosineWindowAttention(WindowAttention):
    """Swin v2: unit queries and keys, a clamped logit scale, position biases from a small MLP; no key bias."""

    planted = ("vo",)

    def __init__(self, dim, heads, window):
        super().__init__(dim, heads, window)
        del self.table
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("k_bias", torch.zeros(dim))
        self.logit_scale = nn.Parameter(torch.zeros(heads, 1, 1))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 24), nn.ReLU(inplace=True), nn.Linear(24, heads, bias=False))
        t = torch.arange(-(window - 1), window, dtype=torch.float32)
        t = torch.stack(torch.meshgrid(t, t, indexing="ij"), -1).unsqueeze(0) / (window - 1) * 8
        self.register_buffer("coords", torch.sign(t) * torch.log2(t.abs() + 1.0) / math.log2(8))

    def plant(self, g):
        h, v = self.heads, self.qkv.weight.chunk(3)[2]
        plant.vo(g, plant.per_head(v, self.v_bias, h), plant.columns(self.proj, h))

    def project(self, x):
        return F.linear(x, self.qkv.weight, torch.cat((self.q_bias, self.k_bias, self.v_bias)))

    def logits(self, q, k):
        scale = torch.clamp(self.logit_scale + 2.0, max=math.log(1.0 / 0.01)).exp()
        return (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)) * scale

    def position(self):
        n = self.index.shape[0]
        table = self.cpb_mlp(self.coords).view(-1, self.heads)
        return 16 * torch.sigmoid(table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous())


class SwinBlock(nn.Module):
    def __init__(self, dim, heads, side, window, shift, attention, res):
        super().__init__()
        self.side, self.window, self.shift, self.res = side, window, shift, res
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = attention(dim, heads, window), Mlp(dim, 2 * dim)
        self.register_buffer("mask", shift_mask(side, window, shift) if shift else None)

    def windows(self, x):
        B, L, C = x.shape
        s, w = self.side, self.window
        x = x.view(B, s, s, C)
        if self.shift:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        x = self.attn(partition(x, w).view(-1, w * w, C), self.mask)
        x = reverse(x.view(-1, w, w, C), w, s, s)
        if self.shift:
            x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
        return x.view(B, L, C)

    def forward(self, x):
        if self.res:
            x = x + self.norm1(self.windows(x))
            return x + self.norm2(self.mlp(x))
        x = x + self.windows(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SlicedMerging(nn.Module):
    """Swin v1 as first published: four strided slices side by side, a norm, a linear map."""

    def __init__(self, dim, side):
        super().__init__()
        self.side, self.norm, self.reduction = side, nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):
        B, L, C = x.shape
        x = x.view(B, self.side, self.side, C)
        x = torch.cat([x[:, i::2, j::2, :] for j in (0, 1) for i in (0, 1)], -1).view(B, -1, 4 * C)
        return self.reduction(self.norm(x))


class PermutedMerging(SlicedMerging):
    """timm's Swin v2: reshape, permute, a linear map, a norm behind it."""

    def __init__(self, dim, side):
        super().__init__(dim, side)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x):
        B, L, C = x.shape
        h = self.side // 2
        x = x.reshape(B, h, 2, h, 2, C).permute(0, 1, 3, 4, 2, 5).flatten(3).view(B, h * h, 4 * C)
        return self.norm(self.reduction(x))


class Swin(nn.Module):
    image = 16

    def __init__(self, attention=WindowAttention, merging=SlicedMerging, res=False):
        super().__init__()
        self.embed, self.embed_norm = nn.Conv2d(3, 8, 2, stride=2), nn.LayerNorm(8)
        block = lambda dim, side, shift: SwinBlock(dim, dim // 8, side, 4, shift, attention, res)
        self.stages = nn.Sequential(block(8, 8, 0), block(8, 8, 2), merging(8, 8), block(16, 4, 0))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.embed_norm(self.embed(x).flatten(2).transpose(1, 2))
        x = self.norm(self.stages(x))
        return self.head(torch.flatten(F.adaptive_avg_pool1d(x.transpose(1, 2), 1), 1))


def swin_v1():
    return Swin()


def swin_v2():
    return Swin(CosineWindowAttention, PermutedMerging, True)


class ReducedAttention(nn.Module):
    """PVT and MiT: keys and values come from fewer tokens, by a strided convolution and a norm."""

    def __init__(self, dim, heads, side, reduce):
        super().__init__()
        self.heads, self.scale, self.side = heads, (dim // heads) ** -0.5, side
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.sr = nn.Conv2d(dim, dim, reduce, stride=reduce) if reduce > 1 else None
        self.norm = nn.LayerNorm(dim) if reduce > 1 else None

    def plant(self, g):
        h = self.heads
        plant.qk(g, plant.of(self.q, h), plant.of(self.kv, h, 0, 2))
        plant.vo(g, plant.of(self.kv, h, 1, 2), plant.columns(self.proj, h))

    def forward(self, x):
        B, N, C = x.shape
        q = self.q(x).reshape(B, N, self.heads, C // self.heads).permute(0, 2, 1, 3)
        if self.sr is not None:
            y = x.permute(0, 2, 1).reshape(B, C, self.side, self.side)
            x = self.norm(self.sr(y).reshape(B, C, -1).permute(0, 2, 1))
        kv = self.kv(x).reshape(B, -1, 2, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        k, v = kv[0], kv[1]
        attn = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class MixMlp(nn.Module):
    """PVT v2 and MiT: a depthwise convolution over the hidden channels, before the activation."""

    def __init__(self, dim, hidden, side, relu=False):
        super().__init__()
        self.fc1, self.fc2, self.side, self.relu = nn.Linear(dim, hidden), nn.Linear(hidden, dim), side, relu
        self.dwconv = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)

    def plant(self, g):
        plant.hidden(g, self.fc1.weight, self.fc1.bias, self.dwconv.weight, self.dwconv.bias)

    def forward(self, x):
        x = self.fc1(x)
        if self.relu:
            x = F.relu(x)
        B, N, C = x.shape
        x = x.transpose(1, 2).contiguous().view(B, C, self.side, self.side)
        x = self.dwconv(x).flatten(2).transpose(1, 2)
        return self.fc2(F.gelu(x))


class PyramidBlock(nn.Module):
    def __init__(self, dim, heads, side, reduce, mlp):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = ReducedAttention(dim, heads, side, reduce), mlp

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Pvt(nn.Module):
    """PVT v1: position embeddings per stage; v2: overlapping patches and convolutions in the MLP."""

    image = 16

    def __init__(self, v2):
        super().__init__()
        k, p = (3, 1) if v2 else (2, 0)
        self.v2 = v2
        self.embed = nn.ModuleList([nn.Conv2d(3, 8, k, 2, p), nn.Conv2d(8, 16, k, 2, p)])
        self.embed_norm = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(16)])
        self.pos = nn.ParameterList([nn.Parameter(torch.zeros(1, 64, 8)), nn.Parameter(torch.zeros(1, 16, 16))])
        mlp = (lambda d, s: MixMlp(d, 2 * d, s)) if v2 else (lambda d, s: Mlp(d, 2 * d))
        self.blocks = nn.ModuleList([PyramidBlock(8, 1, 8, 4, mlp(8, 8)), PyramidBlock(16, 2, 4, 2, mlp(16, 4))])
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, CLASSES)

    def stages(self, x):
        for conv, norm, pos, block in zip(self.embed, self.embed_norm, self.pos, self.blocks):
            x = conv(x)
            B, C, H, W = x.shape
            x = norm(x.flatten(2).transpose(1, 2))
            x = block(x if self.v2 else x + pos)
            yield x, H
            x = x.reshape(B, H, W, -1).permute(0, 3, 1, 2).contiguous()

    def forward(self, x):
        for x, _ in self.stages(x):
            pass
        return self.head(self.norm(x).mean(dim=1))


def pvt_v1():
    return Pvt(False)


def pvt_v2():
    return Pvt(True)


class Segformer(Pvt):
    """SegFormer: MiT's stages, each mapped and resized, joined and classified at every place."""

    def __init__(self):
        super().__init__(True)
        self.linear_c = nn.ModuleList([nn.Linear(8, 16), nn.Linear(16, 16)])
        self.fuse, self.bn, self.pred = nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16), nn.Conv2d(16, 5, 1)
        del self.norm, self.head

    def forward(self, x):
        maps = []
        for (x, side), linear in zip(self.stages(x), self.linear_c):
            y = linear(x).permute(0, 2, 1).reshape(x.shape[0], -1, side, side)
            maps.append(F.interpolate(y, size=(8, 8), mode="bilinear", align_corners=False))
        return self.pred(F.relu(self.bn(self.fuse(torch.cat(maps[::-1], dim=1)))))


class Norm(nn.Sequential):
    """LeViT: a linear map without bias and a batch norm, as convolution or not; fold() makes them one."""

    def __init__(self, a, b, conv=False, **options):
        super().__init__(nn.Conv2d(a, b, options.pop("kernel", 1), bias=False, **options) if conv else nn.Linear(a, b, bias=False),
                         nn.BatchNorm2d(b) if conv else nn.BatchNorm1d(b))
        self.conv = conv

    def heads(self, heads, take):
        """Effective (weight, bias) per head of channels [heads, *], the part that take names."""
        s, t = self.affine()
        w = (self[0].weight.data.flatten(1) * s[:, None]).view(heads, -1, self[0].weight[0].numel())
        b = t.view(heads, -1)
        return [(x[take], y[take]) for x, y in zip(w, b)]

    def affine(self):
        bn = self[1]
        s = bn.weight.data / (bn.running_var + bn.eps).sqrt()
        return s, bn.bias.data - bn.running_mean * s

    def store(self, heads, take, values):
        """The inverse of heads: writes effective maps."""
        s, _ = self.affine()
        bn, rows = self[1], torch.arange(len(s)).view(heads, -1)
        for h, (w, b) in enumerate(values):
            r = rows[h][take]
            self[0].weight.data[r] = (w / s[r][:, None]).view(self[0].weight[r].shape)
            bn.bias.data[r] = b + bn.running_mean[r] * s[r]

    def forward(self, x):
        if self.conv:
            return self[1](self[0](x))
        x = self[0](x)
        return self[1](x.flatten(0, 1)).reshape_as(x)


class LevitAttention(nn.Module):
    """Values wider than keys, biases by distance, Hardswish before the output map."""

    def __init__(self, dim, key, heads, side, conv, out=None, stride=1):
        super().__init__()
        self.heads, self.key, self.value, self.conv = heads, key, 2 * key, conv
        self.scale, self.stride, self.side = key ** -0.5, stride, side
        if stride > 1:
            self.kv, self.q = Norm(dim, heads * 3 * key, conv), Norm(dim, heads * key, conv)
        else:
            self.qkv = Norm(dim, heads * 4 * key, conv)
        self.proj = Norm(heads * 2 * key, out or dim, conv)
        a = torch.arange(side)
        k = torch.stack(torch.meshgrid(a, a, indexing="ij")).flatten(1)
        q = torch.stack(torch.meshgrid(a[::stride], a[::stride], indexing="ij")).flatten(1)
        d = (q[..., :, None] - k[..., None, :]).abs()
        self.register_buffer("index", d[0] * side + d[1])
        self.biases = nn.Parameter(torch.zeros(heads, side * side))

    def plant(self, g):
        first, second = slice(0, self.key), slice(self.key, 2 * self.key)
        a, b = ((self.q, first), (self.kv, first)) if self.stride > 1 else ((self.qkv, first), (self.qkv, second))
        q, k = a[0].heads(self.heads, a[1]), b[0].heads(self.heads, b[1])
        plant.qk(g, q, k)
        a[0].store(self.heads, a[1], q)
        b[0].store(self.heads, b[1], k)

    def forward(self, x):
        h, d, e = self.heads, self.key, self.value
        bias = self.biases[:, self.index]
        if self.conv:
            B, C, H, W = x.shape
            q, k, v = self.qkv(x).view(B, h, -1, H * W).split([d, d, e], dim=2)
            attn = ((q.transpose(-2, -1) @ k) * self.scale + bias).softmax(dim=-1)
            x = (v @ attn.transpose(-2, -1)).view(B, -1, H, W)
        else:
            B, N, C = x.shape
            if self.stride > 1:
                k, v = self.kv(x).view(B, N, h, -1).split([d, e], dim=3)
                y = x.view(B, self.side, self.side, C)[:, ::self.stride, ::self.stride].reshape(B, -1, C)
                q = self.q(y).view(B, -1, h, d).permute(0, 2, 1, 3)
            else:
                q, k, v = self.qkv(x).view(B, N, h, -1).split([d, d, e], dim=3)
                q = q.permute(0, 2, 1, 3)
            k, v = k.permute(0, 2, 3, 1), v.permute(0, 2, 1, 3)
            attn = (q @ k * self.scale + bias).softmax(dim=-1)
            x = (attn @ v).transpose(1, 2).reshape(B, -1, h * e)
        return self.proj(F.hardswish(x))


class LevitMlp(nn.Module):
    def __init__(self, dim, conv):
        super().__init__()
        self.ln1, self.ln2 = Norm(dim, 2 * dim, conv), Norm(2 * dim, dim, conv)

    def plant(self, g):
        bn = self.ln1[1]
        plant.hidden(g, self.ln1[0].weight, bn.weight, bn.bias, bn.running_mean, bn.running_var)

    def forward(self, x):
        return self.ln2(F.hardswish(self.ln1(x)))


class Levit(nn.Module):
    """LeViT: a convolutional stem, attention and MLP of maps with batch norms, one shrinking attention."""

    image = 32

    def __init__(self, conv=False):
        super().__init__()
        act = nn.Hardswish
        c = lambda a, b: Norm(a, b, True, kernel=3, stride=2, padding=1)
        self.stem, self.conv = nn.Sequential(c(3, 4), act(), c(4, 8), act(), c(8, 16)), conv
        self.attn1, self.mlp1 = LevitAttention(16, 8, 2, 4, conv), LevitMlp(16, conv)
        if not conv:
            self.down, self.mlp2 = LevitAttention(16, 8, 2, 4, conv, out=24, stride=2), LevitMlp(24, conv)
        self.bn, self.head = nn.BatchNorm1d(16 if conv else 24), nn.Linear(16 if conv else 24, CLASSES)
        self.bn_dist, self.head_dist = nn.BatchNorm1d(16 if conv else 24), nn.Linear(16 if conv else 24, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        if not self.conv:
            x = x.flatten(2).transpose(1, 2)
        x = x + self.attn1(x)
        x = x + self.mlp1(x)
        if self.conv:
            x = x.mean(dim=(-2, -1))
        else:
            x = self.down(x)
            x = x + self.mlp2(x)
            x = x.mean(dim=1)
        return (self.head(self.bn(x)) + self.head_dist(self.bn_dist(x))) / 2


def levit():
    return Levit()


def levit_conv():
    return Levit(True)


class InvertedResidual(nn.Module):
    """MobileNet v2: 1x1 convolution, depthwise convolution, 1x1 convolution, each with a batch norm."""

    def __init__(self, a, b, stride):
        super().__init__()
        h = 2 * a
        self.conv = nn.Sequential(nn.Conv2d(a, h, 1, bias=False), nn.BatchNorm2d(h), nn.SiLU(),
                                  nn.Conv2d(h, h, 3, stride, 1, groups=h, bias=False), nn.BatchNorm2d(h), nn.SiLU(),
                                  nn.Conv2d(h, b, 1, bias=False), nn.BatchNorm2d(b))
        self.residual = stride == 1 and a == b

    def plant(self, g):
        c = self.conv
        bn = lambda m: (m.weight, m.bias, m.running_mean, m.running_var)
        plant.hidden(g, c[0].weight, *bn(c[1]), c[3].weight, *bn(c[4]))

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class PatchBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = Attention(dim, 2), Mlp(dim, 2 * dim, act=F.silu)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MobileVitBlock(nn.Module):
    """MobileViT: convolutions, patches unfolded so that tokens of one place within a patch attend, folded again."""

    def __init__(self, c, dim):
        super().__init__()
        self.local = nn.Sequential(nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.SiLU(), nn.Conv2d(c, dim, 1, bias=False))
        self.blocks, self.norm = nn.Sequential(PatchBlock(dim), PatchBlock(dim)), nn.LayerNorm(dim)
        self.proj = nn.Sequential(nn.Conv2d(dim, c, 1, bias=False), nn.BatchNorm2d(c), nn.SiLU())
        self.fusion = nn.Sequential(nn.Conv2d(2 * c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.SiLU())

    def forward(self, x):
        short, p = x, 2
        x = self.local(x)
        B, C, H, W = x.shape
        nh, nw = H // p, W // p
        x = x.reshape(B * C * nh, p, nw, p).transpose(1, 2)
        x = x.reshape(B, C, nh * nw, p * p).transpose(1, 3).reshape(B * p * p, nh * nw, -1)
        x = self.norm(self.blocks(x))
        x = x.contiguous().view(B, p * p, nh * nw, -1)
        x = x.transpose(1, 3).reshape(B * C * nh, nw, p, p)
        x = x.transpose(1, 2).reshape(B, C, nh * p, nw * p)
        return self.fusion(torch.cat((short, self.proj(x)), dim=1))


class SeparableBlock(nn.Module):
    """MobileViT v2: one context score per token, linear in the number of tokens."""

    def __init__(self, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(1, dim), nn.GroupNorm(1, dim)
        self.qkv, self.out, self.dim = nn.Conv2d(dim, 1 + 2 * dim, 1), nn.Conv2d(dim, dim, 1), dim
        self.fc1, self.fc2 = nn.Conv2d(dim, 2 * dim, 1), nn.Conv2d(2 * dim, dim, 1)

    def plant(self, g):
        plant.hidden(g, self.fc1.weight, self.fc1.bias)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).split([1, self.dim, self.dim], dim=1)
        context = (k * F.softmax(q, dim=-1)).sum(dim=-1, keepdim=True)
        x = x + self.out(F.relu(v) * context.expand_as(v))
        return x + self.fc2(F.silu(self.fc1(self.norm2(x))))


class SeparableVitBlock(nn.Module):
    def __init__(self, c, dim):
        super().__init__()
        self.local = nn.Sequential(nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False), nn.BatchNorm2d(c), nn.SiLU(), nn.Conv2d(c, dim, 1, bias=False))
        self.blocks, self.norm = nn.Sequential(SeparableBlock(dim), SeparableBlock(dim)), nn.GroupNorm(1, dim)
        self.proj = nn.Sequential(nn.Conv2d(dim, c, 1, bias=False), nn.BatchNorm2d(c))

    def forward(self, x):
        x, p = self.local(x), 2
        B, C, H, W = x.shape
        nh, nw = H // p, W // p
        x = x.reshape(B, C, nh, p, nw, p).permute(0, 1, 3, 5, 2, 4).reshape(B, C, p * p, nh * nw)
        x = self.norm(self.blocks(x))
        x = x.reshape(B, C, p, p, nh, nw).permute(0, 1, 4, 2, 5, 3).reshape(B, C, H, W)
        return self.proj(x)


class MobileVit(nn.Module):
    image = 16

    def __init__(self, block):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.stages = nn.Sequential(InvertedResidual(8, 12, 2), InvertedResidual(12, 12, 1), block(12, 16))
        self.last = nn.Sequential(nn.Conv2d(12, 24, 1, bias=False), nn.BatchNorm2d(24), nn.SiLU())
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x):
        x = self.last(self.stages(self.stem(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def mobilevit_v1():
    return MobileVit(MobileVitBlock)


def mobilevit_v2():
    return MobileVit(SeparableVitBlock)


class TokenTransformer(nn.Module):
    """T2T: attention that changes the width, with the values as its shortcut."""

    def __init__(self, dim, to):
        super().__init__()
        self.qkv, self.proj, self.to = nn.Linear(dim, 3 * to), nn.Linear(to, to), to
        self.norm1, self.norm2, self.mlp = nn.LayerNorm(dim), nn.LayerNorm(to), Mlp(to, to)

    def plant(self, g):
        plant.qk(g, plant.of(self.qkv, 1, 0, 3), plant.of(self.qkv, 1, 1, 3))

    def attn(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, 1, self.to).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = ((q * self.to ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        x = self.proj((attn @ v).transpose(1, 2).reshape(B, N, self.to))
        return v.squeeze(1) + x

    def forward(self, x):
        x = self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class T2t(nn.Module):
    """T2T-ViT: tokens made by F.unfold, with a transformer between two soft splits."""

    image = 16

    def __init__(self):
        super().__init__()
        self.token, self.project = TokenTransformer(27, 8), nn.Linear(72, 16)
        self.pos = nn.Parameter(torch.zeros(1, 17, 16))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.block, self.norm, self.head = PatchBlock(16), nn.LayerNorm(16), nn.Linear(16, CLASSES)

    def forward(self, x):
        x = F.unfold(x, kernel_size=3, stride=2, padding=1).transpose(1, 2)
        x = self.token(x)
        B, N, C = x.shape
        x = x.transpose(1, 2).reshape(B, C, 8, 8)
        x = self.project(F.unfold(x, kernel_size=3, stride=2, padding=1).transpose(1, 2))
        x = torch.cat((self.cls_token.expand(B, -1, -1), x), dim=1) + self.pos
        return self.head(self.norm(self.block(x))[:, 0])
