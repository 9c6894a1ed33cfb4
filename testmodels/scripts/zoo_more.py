"""Further ways to attend: pooled, gated, gridded, crossed, by channel groups, with positions made of the query."""

import torch
import torch.nn as nn
import torch.nn.functional as F

import plant
from zoo_plain import CLASSES, DIM, HEADS, WIDTH, Attention, Block, HfAttention, Mlp, Vit
from zoo_stages import partition, reverse


class Patches(Vit):
    """A ViT without class token, whose patches' mean is classified."""

    def __init__(self, block, **options):
        super().__init__(block, prefix=0, **options)

    def forward(self, x):
        return self.head(self.norm(self.features(x)).mean(dim=1))


class SamAttention(Attention):
    """SAM and ViTDet: to the logits come products of the query with embeddings of rows and columns."""

    planted = ("vo",)

    def __init__(self):
        super().__init__()
        self.rel_h, self.rel_w = nn.Parameter(torch.zeros(7, WIDTH)), nn.Parameter(torch.zeros(7, WIDTH))
        i = torch.arange(4)
        self.register_buffer("index", i[:, None] - i[None, :] + 3)

    def forward(self, x):
        B, N, C = x.shape
        h, s = self.heads, 4
        qkv = self.qkv(x).reshape(B, N, 3, h, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, -1, N, C // h).unbind(0)
        attn = (q * self.scale) @ k.transpose(-2, -1)
        r = q.reshape(-1, s, s, C // h)
        rel_h = torch.einsum("bhwc,hkc->bhwk", r, self.rel_h[self.index])
        rel_w = torch.einsum("bhwc,wkc->bhwk", r, self.rel_w[self.index])
        attn = (attn.view(-1, s, s, s, s) + rel_h[:, :, :, :, None] + rel_w[:, :, :, None, :]).view(-1, N, N)
        x = (attn.softmax(dim=-1) @ v).view(B, h, s, s, -1).permute(0, 2, 3, 1, 4).reshape(B, N, C)
        return self.proj(x)


def sam():
    return Patches(lambda: Block(SamAttention()))


class PooledAttention(Attention):
    """MViT v2: queries, keys and values pass depthwise convolutions and norms; the pooled query is added to the result."""

    planted = ()

    def __init__(self):
        super().__init__()
        pool = lambda stride: nn.Conv2d(WIDTH, WIDTH, 3, stride, 1, groups=WIDTH, bias=False)
        self.pool_q, self.pool_k, self.pool_v = pool(1), pool(2), pool(2)
        self.norm_q, self.norm_k, self.norm_v = (nn.LayerNorm(WIDTH) for _ in range(3))

    def pooled(self, t, pool, norm):
        B, H, N, C = t.shape
        t = pool(t.reshape(B * H, 4, 4, C).permute(0, 3, 1, 2).contiguous())
        return norm(t.reshape(B, H, C, -1).transpose(2, 3))

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        q, k, v = self.pooled(q, self.pool_q, self.norm_q), self.pooled(k, self.pool_k, self.norm_k), self.pooled(v, self.pool_v, self.norm_v)
        x = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1) @ v + q
        return self.proj(x.transpose(1, 2).reshape(B, N, C))


def mvit_v2():
    return Patches(lambda: Block(PooledAttention()))


class Gated(Attention):
    """ConViT: attention by content and by position, mixed by a learned gate per head; values apart."""

    def __init__(self):
        super().__init__()
        del self.qkv
        self.qk, self.v = nn.Linear(DIM, 2 * DIM, bias=False), nn.Linear(DIM, DIM, bias=False)
        self.pos_proj, self.gating = nn.Linear(3, HEADS), nn.Parameter(torch.zeros(HEADS))
        i = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")).flatten(1)
        d = i[:, None, :] - i[:, :, None]
        self.register_buffer("rel", torch.stack([d[0], d[1], (d ** 2).sum(0)], -1).unsqueeze(0))

    def plant(self, g):
        plant.qk(g, plant.of(self.qk, HEADS, 0, 2), plant.of(self.qk, HEADS, 1, 2))
        plant.vo(g, plant.of(self.v, HEADS), plant.columns(self.proj, HEADS))

    def forward(self, x):
        B, N, C = x.shape
        q, k = self.qk(x).reshape(B, N, 2, HEADS, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
        pos = self.pos_proj(self.rel.expand(B, -1, -1, -1)).permute(0, 3, 1, 2).softmax(dim=-1)
        patch = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        gate = torch.sigmoid(self.gating.view(1, -1, 1, 1))
        attn = (1.0 - gate) * patch + gate * pos
        attn = attn / attn.sum(dim=-1).unsqueeze(-1)
        v = self.v(x).reshape(B, N, HEADS, WIDTH).permute(0, 2, 1, 3)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


def convit():
    return Patches(lambda: Block(Gated()))


class Gridded(nn.Module):
    """MaxViT: a block of attention within windows, then one within a grid of strides."""

    def __init__(self):
        super().__init__()
        self.window, self.grid = Block(), Block()

    def forward(self, x):
        B, N, C = x.shape
        x = x.view(B, 4, 4, C)
        x = reverse(self.window(partition(x, 2).view(-1, 4, C)).view(-1, 2, 2, C), 2, 4, 4)
        y = x.view(B, 2, 2, 2, 2, C).permute(0, 2, 4, 1, 3, 5).contiguous().view(-1, 4, C)
        y = self.grid(y).view(B, 2, 2, 2, 2, C).permute(0, 3, 1, 4, 2, 5).contiguous()
        return y.view(B, N, C)


def maxvit():
    return Patches(Gridded, depth=1)


class LocalPosition(Attention):
    """CSWin: attention in stripes, and a depthwise convolution of the values is added to its result."""

    planted = ("qk",)

    def __init__(self):
        super().__init__()
        self.get_v = nn.Conv2d(DIM, DIM, 3, padding=1, groups=DIM)

    def stripes(self, t):
        B, N, C = t.shape
        t = t.view(B, 2, 2, 4, C)
        return t.reshape(-1, 8, self.heads, C // self.heads).permute(0, 2, 1, 3).contiguous()

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, C).permute(2, 0, 1, 3).unbind(0)
        lepe = self.get_v(v.transpose(-2, -1).contiguous().view(B, C, 4, 4)).flatten(2).transpose(1, 2)
        q, k, w = self.stripes(q), self.stripes(k), self.stripes(v)
        x = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1) @ w
        return self.proj(x.transpose(1, 2).reshape(B, N, C) + lepe)


def cswin():
    return Patches(lambda: Block(LocalPosition()))


class Positions(nn.Module):
    """Twins: attention within windows, then a position encoding by a depthwise convolution."""

    def __init__(self):
        super().__init__()
        self.block, self.peg = Block(), nn.Conv2d(DIM, DIM, 3, padding=1, groups=DIM)

    def forward(self, x):
        B, N, C = x.shape
        x = x.view(B, 4, 4, C)
        x = reverse(self.block(partition(x, 2).view(-1, 4, C)).view(-1, 2, 2, C), 2, 4, 4).view(B, N, C)
        y = x.transpose(1, 2).view(B, C, 4, 4)
        return (self.peg(y) + y).flatten(2).transpose(1, 2)


def twins():
    return Patches(Positions)


class ChannelGroups(Attention):
    """DaViT: channels attend to channels, in groups."""

    planted = ()

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attn = ((k * self.scale).transpose(-1, -2) @ v).softmax(dim=-1)
        x = (attn @ q.transpose(-1, -2)).transpose(-1, -2)
        return self.proj(x.transpose(1, 2).reshape(B, N, C))


def davit():
    return Patches(lambda: Block(ChannelGroups()), depth=1)


class UnitAttention(Attention):
    """Hiera: tokens attend within their unit; of the queries, the largest over a stride goes on."""

    planted = ("vo",)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, 4, 4, 3, self.heads, C // self.heads).permute(3, 0, 4, 2, 1, 5)
        q, k, v = qkv[0], qkv[1], qkv[2]
        q = q.view(B, self.heads, 4, 2, -1, C // self.heads).amax(dim=3)
        attn = ((q * self.scale) @ k.transpose(-1, -2)).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 3).reshape(B, -1, C))


class HieraBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.shortcut, self.attn, self.mlp = nn.Linear(DIM, DIM), UnitAttention(), Mlp()

    def forward(self, x):
        y = self.norm1(x)
        x = self.shortcut(y).view(y.shape[0], 2, -1, DIM).amax(dim=1) + self.attn(y)
        return x + self.mlp(self.norm2(x))


def hiera():
    return Patches(HieraBlock, depth=1)


class GroupedQueries(nn.Module):
    """Four query heads, two of keys and values, repeated; as in recent language models' vision towers."""

    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(DIM, 32), nn.Linear(DIM, 16), nn.Linear(DIM, 16)
        self.o_proj = nn.Linear(32, DIM)

    def forward(self, x):
        B, N, C = x.shape
        q = self.q_proj(x).view(B, N, 4, 8).transpose(1, 2)
        k, v = (f(x).view(B, N, 2, 8).transpose(1, 2) for f in (self.k_proj, self.v_proj))
        k, v = (t[:, :, None, :, :].expand(B, 2, 2, N, 8).reshape(B, 4, N, 8) for t in (k, v))
        attn = ((q @ k.transpose(2, 3)) * 8 ** -0.5).softmax(dim=-1)
        return self.o_proj((attn @ v).transpose(1, 2).reshape(B, N, 32))


def grouped_queries():
    return Patches(lambda: Block(GroupedQueries()))


class CrossAttention(HfAttention):
    def forward(self, x, y):
        q, k, v = self.split(self.query(x)), self.split(self.key(y)), self.split(self.value(y))
        attn = (torch.matmul(q, k.transpose(-1, -2)) * WIDTH ** -0.5).softmax(dim=-1)
        context = torch.matmul(attn, v).permute(0, 2, 1, 3).contiguous()
        return self.dense(context.view(context.size()[:-2] + (DIM,)))


class ObjectSelf(HfAttention):
    """Attention between object queries, which at first are the same for every image: all of it is a constant."""

    def plant(self, g):
        pass


class ObjectCross(CrossAttention):
    def plant(self, g):
        plant.vo(g, plant.of(self.value, HEADS), plant.columns(self.dense, HEADS))


class Detr(Vit):
    """DETR in small: an encoder, object queries that attend to each other and to the patches, classes and boxes."""

    def __init__(self):
        super().__init__(lambda: Block(HfAttention(), Mlp(act=F.relu), order="post"), prefix=0, depth=1, classes=0)
        self.queries = nn.Parameter(torch.zeros(1, 5, DIM))
        self.self_attn, self.cross_attn, self.mlp = ObjectSelf(), ObjectCross(), Mlp(act=F.relu)
        self.n1, self.n2, self.n3 = (nn.LayerNorm(DIM) for _ in range(3))
        self.classes = nn.Linear(DIM, 4)
        self.box = nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU(), nn.Linear(DIM, 4))

    def forward(self, x):
        x = self.norm(self.features(x))
        q = self.queries.expand(x.shape[0], -1, -1)
        q = self.n1(q + self.self_attn(q))
        q = self.n2(q + self.cross_attn(q, x))
        q = self.n3(q + self.mlp(q))
        return self.classes(q), self.box(q).sigmoid()


class CrossVit(nn.Module):
    """CrossViT: two branches of patches; each one's class token attends to the other's patches."""

    image = 16

    def __init__(self):
        super().__init__()
        self.embed = nn.ModuleList([nn.Conv2d(3, DIM, 4, 4), nn.Conv2d(3, DIM, 8, 8)])
        self.cls = nn.ParameterList([nn.Parameter(torch.zeros(1, 1, DIM)) for _ in range(2)])
        self.blocks = nn.ModuleList([Block(), Block()])
        self.cross = nn.ModuleList([CrossAttention(), CrossAttention()])
        self.norms, self.heads = nn.ModuleList([nn.LayerNorm(DIM) for _ in range(4)]), nn.ModuleList([nn.Linear(DIM, CLASSES) for _ in range(2)])

    def forward(self, x):
        xs = [torch.cat((c.expand(x.shape[0], -1, -1), e(x).flatten(2).transpose(1, 2)), 1) for c, e in zip(self.cls, self.embed)]
        xs = [b(y) for b, y in zip(self.blocks, xs)]
        out = []
        for i in range(2):
            y = self.norms[i](torch.cat((xs[i][:, :1], xs[1 - i][:, 1:]), dim=1))
            cls = xs[i][:, :1] + self.cross[i](y[:, :1], y)
            out.append(self.heads[i](self.norms[2 + i](cls)[:, 0]))
        return torch.mean(torch.stack(out), dim=0)
