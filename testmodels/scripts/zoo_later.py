"""Hybrids and relatives: outlookers, transformers in transformers, convolutions before attention, queries of the whole image, latents."""

import torch
import torch.nn as nn
import torch.nn.functional as F

import plant
from zoo_more import CrossAttention, ObjectCross, Patches
from zoo_plain import CLASSES, DIM, HEADS, WIDTH, Attention, Block, HfAttention, LayerScale, Mlp, Vit, relative_index
from zoo_stages import partition, reverse


class Col2Im(torch.autograd.Function):
    """F.fold as the operator that ONNX has for it since 18, in a domain of its own until zoo.py moves it."""

    @staticmethod
    def forward(ctx, x, side):
        return F.fold(x, (side, side), 3, padding=1, stride=2)

    @staticmethod
    def symbolic(g, x, side):
        def const(*xs):
            return g.op("Constant", value_t=torch.tensor(xs))
        return g.op("newer::Col2Im", x, const(side, side), const(3, 3), pads_i=[1, 1, 1, 1], strides_i=[2, 2])


class Outlook(nn.Module):
    """VOLO: each place says how its neighbours' values are weighed, without asking them."""

    def __init__(self):
        super().__init__()
        self.v, self.attn, self.proj = nn.Linear(DIM, DIM, bias=False), nn.Linear(DIM, 81 * HEADS), nn.Linear(DIM, DIM)

    def forward(self, x):
        B, H, W, C = x.shape
        v = F.unfold(self.v(x).permute(0, 3, 1, 2), 3, padding=1, stride=2)
        v = v.reshape(B, HEADS, WIDTH, 9, 4).permute(0, 1, 4, 3, 2)
        a = F.avg_pool2d(x.permute(0, 3, 1, 2), 2, 2, ceil_mode=True).permute(0, 2, 3, 1)
        a = self.attn(a).reshape(B, 4, HEADS, 9, 9).permute(0, 2, 1, 3, 4)
        a = (a * WIDTH ** -0.5).softmax(dim=-1)
        x = (a @ v).permute(0, 1, 4, 3, 2).reshape(B, C * 9, 4)
        return self.proj(Col2Im.apply(x, 4).permute(0, 2, 3, 1))


class Volo(Patches):
    """VOLO: an outlooker, then a transformer block with q and k, v from two maps."""

    def __init__(self):
        super().__init__(lambda: Block(Halves()), depth=1)
        self.norm1, self.norm2, self.outlook, self.mlp = nn.LayerNorm(DIM), nn.LayerNorm(DIM), Outlook(), Mlp()

    def embed(self, x):
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        x = x + self.outlook(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x.reshape(x.shape[0], -1, DIM) + self.pos_embed

    def forward(self, x):
        x = self.norm(self.features(x))
        return self.head(F.adaptive_avg_pool1d(x.transpose(1, 2), 1).flatten(1))


class Halves(nn.Module):
    """Queries of one map, keys and values of another."""

    def __init__(self):
        super().__init__()
        self.q, self.kv, self.proj = nn.Linear(DIM, DIM, bias=False), nn.Linear(DIM, 2 * DIM, bias=False), nn.Linear(DIM, DIM)

    def plant(self, g):
        plant.qk(g, plant.of(self.q, HEADS), plant.of(self.kv, HEADS, 0, 2))
        plant.vo(g, plant.of(self.kv, HEADS, 1, 2), plant.columns(self.proj, HEADS))

    def forward(self, x):
        B, N, C = x.shape
        q = self.q(x).reshape(B, N, HEADS, WIDTH).permute(0, 2, 1, 3)
        k, v = self.kv(x).reshape(B, N, 2, HEADS, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
        a = ((q * WIDTH ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((a @ v).transpose(1, 2).reshape(B, N, C))


class TntAttention(nn.Module):
    """TNT: q and k of one map, v of another, none with a bias."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qk, self.v, self.proj = nn.Linear(dim, 2 * dim, bias=False), nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)

    def plant(self, g):
        plant.qk(g, plant.of(self.qk, self.heads, 0, 2), plant.of(self.qk, self.heads, 1, 2))
        plant.vo(g, plant.of(self.v, self.heads), plant.columns(self.proj, self.heads))

    def forward(self, x):
        B, N, C = x.shape
        q, k = self.qk(x).reshape(B, N, 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        v = self.v(x).reshape(B, N, self.heads, -1).permute(0, 2, 1, 3)
        a = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((a @ v).transpose(1, 2).reshape(B, N, -1))


class TntBlock(nn.Module):
    """Pixels attend to each other within their patch; then they are added to the patch, and patches attend."""

    def __init__(self):
        super().__init__()
        self.inner = Block(TntAttention(8, 1), Mlp(8, 16), dim=8)
        self.norm, self.proj = nn.LayerNorm(32), nn.Linear(32, DIM)
        self.outer = Block(TntAttention(DIM, HEADS))

    def forward(self, pixels, x):
        pixels = self.inner(pixels)
        B, N, C = x.shape
        added = x[:, 1:] + self.proj(self.norm(pixels.reshape(B, N - 1, -1)))
        return pixels, self.outer(torch.cat([x[:, :1], added], dim=1))


class Tnt(nn.Module):
    """TNT: patches of 4, each of 2x2 pixel groups."""

    image = 16

    def __init__(self):
        super().__init__()
        self.pixel_embed, self.pixel_pos = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Parameter(torch.zeros(1, 8, 2, 2))
        self.norm1, self.proj, self.norm2 = nn.LayerNorm(32), nn.Linear(32, DIM), nn.LayerNorm(DIM)
        self.cls_token, self.pos = nn.Parameter(torch.zeros(1, 1, DIM)), nn.Parameter(torch.zeros(1, 17, DIM))
        self.block, self.norm, self.head = TntBlock(), nn.LayerNorm(DIM), nn.Linear(DIM, CLASSES)

    def forward(self, x):
        B = x.shape[0]
        x = self.pixel_embed(x)
        x = F.unfold(x, 2, stride=2).transpose(1, 2).reshape(B * 16, 8, 2, 2) + self.pixel_pos
        pixels = x.reshape(B * 16, 8, -1).transpose(1, 2)
        x = self.norm2(self.proj(self.norm1(pixels.reshape(B, 16, -1))))
        x = torch.cat((self.cls_token.expand(B, -1, -1), x), dim=1) + self.pos
        _, x = self.block(pixels, x)
        return self.head(self.norm(x)[:, 0])


class MbConv(nn.Module):
    """An inverted bottleneck: 1x1, depthwise 3x3, squeeze and excitation, 1x1, with batch norms."""

    def __init__(self, hidden=HEADS * DIM):
        super().__init__()
        self.pre, self.expand, self.bn1 = nn.BatchNorm2d(DIM), nn.Conv2d(DIM, hidden, 1, bias=False), nn.BatchNorm2d(hidden)
        self.depth, self.bn2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False), nn.BatchNorm2d(hidden)
        self.reduce, self.excite, self.project = nn.Conv2d(hidden, 8, 1), nn.Conv2d(8, hidden, 1), nn.Conv2d(hidden, DIM, 1)

    def forward(self, x):
        y = F.gelu(self.bn1(self.expand(self.pre(x))))
        y = F.gelu(self.bn2(self.depth(y)))
        s = self.excite(F.silu(self.reduce(y.mean((2, 3), keepdim=True))))
        return x + self.project(y * s.sigmoid())


class Relative(Attention):
    """Attention with a relative position bias from a table."""

    def __init__(self, side):
        super().__init__()
        index, n = relative_index(side, False)
        self.register_buffer("index", index)
        self.table = nn.Parameter(torch.zeros(n, self.heads))

    def bias(self, s):
        n = self.index.shape[0]
        return s + self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous().unsqueeze(0)


class CoAtNet(Patches):
    """CoAtNet: inverted bottlenecks, then blocks of attention with relative positions."""

    def __init__(self):
        super().__init__(lambda: Block(Relative(4)))
        self.stage = MbConv()

    def embed(self, x):
        return self.stage(self.patch_embed(x)).flatten(2).transpose(1, 2)


class GlobalQuery(nn.Module):
    """GCViT: windows of keys and values, asked by one set of queries that comes from the whole image."""

    def __init__(self):
        super().__init__()
        self.kv, self.proj = nn.Linear(DIM, 2 * DIM), nn.Linear(DIM, DIM)
        index, n = relative_index(2, False)
        self.register_buffer("index", index)
        self.table = nn.Parameter(torch.zeros(n, HEADS))

    def plant(self, g):
        plant.vo(g, plant.of(self.kv, HEADS, 1, 2), plant.columns(self.proj, HEADS))

    def forward(self, x, q):
        B, N, C = x.shape
        k, v = self.kv(x).reshape(B, N, 2, HEADS, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
        q = q.repeat(1, 4, 1, 1, 1).reshape(B, HEADS, N, WIDTH) * WIDTH ** -0.5
        b = self.table[self.index.view(-1)].view(N, N, -1).permute(2, 0, 1).unsqueeze(0)
        a = (q @ k.transpose(-2, -1) + b).softmax(dim=-1)
        return self.proj((a @ v).transpose(1, 2).reshape(B, N, C))


class GlobalBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2, self.attn, self.mlp = nn.LayerNorm(DIM), nn.LayerNorm(DIM), GlobalQuery(), Mlp()
        self.ls1, self.ls2 = LayerScale(), LayerScale()
        self.features, self.squeeze = nn.Conv2d(DIM, DIM, 3, padding=1, groups=DIM, bias=False), nn.Conv2d(DIM, DIM, 1, bias=False)

    def forward(self, x):
        B, N, C = x.shape
        y = x.transpose(1, 2).reshape(B, C, 4, 4)
        y = y + self.squeeze(F.gelu(self.features(y)))
        q = F.max_pool2d(y, 3, 2, 1).reshape(B, 1, HEADS, WIDTH, 4).permute(0, 1, 2, 4, 3)
        w = partition(self.norm1(x).view(B, 4, 4, C), 2).view(-1, 4, C)
        x = x + self.ls1(reverse(self.attn(w, q).view(-1, 2, 2, C), 2, 4, 4).view(B, N, C))
        return x + self.ls2(self.mlp(self.norm2(x)))


def gcvit():
    return Patches(GlobalBlock, depth=1)


class ConvFfn(nn.Module):
    """FastViT: a depthwise 7x7 and its norm, then a hidden layer of 1x1 convolutions."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(DIM, DIM, 7, padding=3, groups=DIM, bias=False), nn.BatchNorm2d(DIM)
        self.fc1, self.fc2 = nn.Conv2d(DIM, 32, 1), nn.Conv2d(32, DIM, 1)
        self.gamma = nn.Parameter(torch.ones(DIM, 1, 1))

    def plant(self, g):
        plant.hidden(g, self.fc1.weight, self.fc1.bias)

    def forward(self, x):
        return x + self.gamma * self.fc2(F.gelu(self.fc1(self.bn(self.conv(x)))))


class FastVit(nn.Module):
    """FastViT as it is deployed: mixers folded into one depthwise convolution, then attention on the map."""

    image = 16

    def __init__(self):
        super().__init__()
        self.stem, self.mixer = nn.Conv2d(3, DIM, 4, stride=4), nn.Conv2d(DIM, DIM, 3, padding=1, groups=DIM)
        self.position = nn.Conv2d(DIM, DIM, 7, padding=3, groups=DIM)
        self.norm, self.attn, self.gamma = nn.BatchNorm2d(DIM), Attention(), nn.Parameter(torch.ones(DIM, 1, 1))
        self.ffn1, self.ffn2, self.head = ConvFfn(), ConvFfn(), nn.Linear(DIM, CLASSES)

    def forward(self, x):
        x = self.ffn1(self.mixer(F.gelu(self.stem(x))))
        x = self.position(x)
        y = self.norm(x)
        B, C, H, W = y.shape
        y = self.attn(torch.flatten(y, start_dim=2).transpose(-2, -1))
        x = x + self.gamma * y.transpose(-2, -1).reshape(B, C, H, W)
        x = self.ffn2(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Perceiver(nn.Module):
    """Perceiver: latents attend to pixels and then to each other, twice; a query of the output attends to them."""

    image = 16

    def __init__(self):
        super().__init__()
        self.embed, self.position = nn.Conv2d(3, DIM, 2, stride=2), nn.Parameter(torch.zeros(1, 64, DIM))
        self.latents, self.query = nn.Parameter(torch.zeros(1, 6, DIM)), nn.Parameter(torch.zeros(1, 1, DIM))
        self.norms = nn.ModuleList([nn.LayerNorm(DIM) for _ in range(6)])
        self.first, self.again, self.last = ObjectCross(), CrossAttention(), ObjectCross()
        self.blocks, self.mlp = nn.ModuleList([Block(HfAttention()) for _ in range(2)]), Mlp()
        self.head = nn.Linear(DIM, CLASSES)

    def forward(self, x):
        x = self.norms[0](self.embed(x).flatten(2).transpose(1, 2) + self.position)
        z = self.latents.expand(x.shape[0], -1, -1)
        z = z + self.first(self.norms[1](z), x)
        z = self.blocks[0](z)
        z = z + self.again(self.norms[2](z), x)
        z = self.blocks[1](z)
        q = self.query.expand(x.shape[0], -1, -1)
        q = q + self.last(self.norms[3](q), self.norms[4](z))
        return self.head(q + self.mlp(self.norms[5](q)))[:, 0]
