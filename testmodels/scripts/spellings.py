"""Attention and MLP spellings: one function, many sequences of operators.

The plain form of attention is eight tensors: wq, wk [H*q, d], wv [H*v, d],
wo [d, H*v] and their biases; the plain form of an MLP is w1 [e, d], b1, w2
[d, e], b2, and for gated ones also wg [e, d], bg. Every class here offers
set(**plain). The trained classes offer plain() as well.

oddities.py holds the spellings that must not, or only partly, be pruned.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


def put(linear, weight, bias):
    """Sets a linear or 1x1 convolution."""
    with torch.no_grad():
        linear.weight.copy_(weight.reshape(linear.weight.shape))
        if linear.bias is not None:
            linear.bias.copy_(bias)


class Attention(nn.Module):
    """What all spellings share: sizes, the output linear and how scores are scaled."""

    scaling = "scores"  # scores, query, both

    def __init__(self, c):
        super().__init__()
        self.heads, self.qk, self.vo = c.heads, c.qk, c.vo
        self.scale = c.qk ** -0.5
        self.proj = nn.Linear(c.heads * c.vo, c.dim)

    def mix(self, q, k, v):
        """q, k [B, H, N, q] and v [B, H, N, v] to [B, N, H*v]."""
        if self.scaling == "query":
            s = (q * self.scale) @ k.transpose(-2, -1)
        elif self.scaling == "both":
            root = self.scale ** 0.5
            s = (q * root) @ (k.transpose(-2, -1) * root)
        else:
            s = (q @ k.transpose(-2, -1)) * self.scale
        return (s.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


class Packed(Attention):
    """timm: one linear for q, k and v; reshape to five dimensions, permute, unbind."""

    bias = True

    def __init__(self, c):
        super().__init__(c)
        self.qkv = nn.Linear(c.dim, c.heads * (2 * c.qk + c.vo), bias=self.bias)

    def set(self, wq, bq, wk, bk, wv, bv, wo, bo):
        put(self.qkv, torch.cat([wq, wk, wv]), torch.cat([bq, bk, bv]))
        put(self.proj, wo, bo)

    def plain(self):
        wq, wk, wv = self.qkv.weight.detach().chunk(3)
        bq, bk, bv = self.qkv.bias.detach().chunk(3)
        return dict(wq=wq, bq=bq, wk=wk, bk=bk, wv=wv, bv=bv,
                    wo=self.proj.weight.detach(), bo=self.proj.bias.detach())

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, self.qk).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(self.mix(q, k, v))


class PackedQuery(Packed):
    """Older timm: the query is scaled before the product."""

    scaling = "query"


class PackedBoth(Packed):
    """Query and key are each scaled by the root."""

    scaling = "both"


class PackedNoBias(Packed):
    """qkv without bias."""

    bias = False


class PackedIndex(Packed):
    """The three parts taken by index, the output by transpose and reshape."""

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, self.qk).permute(2, 0, 3, 1, 4)
        a = (qkv[0] @ qkv[1].transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((a @ qkv[2]).transpose(1, 2).reshape(b, n, d))


class Chunk(Packed):
    """One linear, cut in three along the channels, heads split afterwards."""

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = (t.view(b, n, self.heads, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        return self.proj(self.mix(q, k, v))


class SplitUneven(Packed):
    """One linear, split into parts of different width (qk is not vo)."""

    def forward(self, x):
        b, n, d = x.shape
        h, q, v = self.heads, self.qk, self.vo
        q, k, v = (t.view(b, n, h, -1).transpose(1, 2) for t in self.qkv(x).split([h * q, h * q, h * v], dim=-1))
        return self.proj(self.mix(q, k, v))


class Interleaved(Packed):
    """One linear with the head outermost: [B, N, H, 3, q] (einops "b n (h t q)")."""

    def order(self, q, k, v):
        parts = [t.reshape(self.heads, 1, self.qk, *t.shape[1:]) for t in (q, k, v)]
        return torch.cat(parts, dim=1).flatten(0, 2)

    def set(self, wq, bq, wk, bk, wv, bv, wo, bo):
        put(self.qkv, self.order(wq, wk, wv), self.order(bq, bk, bv))
        put(self.proj, wo, bo)

    def forward(self, x):
        b, n, d = x.shape
        t = self.qkv(x).view(b, n, self.heads, 3, self.qk).permute(0, 2, 3, 1, 4)
        q, k, v = (p.squeeze(2) for p in t.chunk(3, dim=2))
        return self.proj(self.mix(q, k, v))


class Interleaved4(Interleaved):
    """As Interleaved, in four dimensions: [B, H, N, 3*q] cut along the last."""

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, self.heads, -1).permute(0, 2, 1, 3).chunk(3, dim=-1)
        return self.proj(self.mix(q, k, v))


class Innermost(Interleaved):
    """One linear with q, k and v alternating channel by channel (einops "b n (h q t)")."""

    def order(self, q, k, v):
        return torch.stack([q, k, v], dim=1).flatten(0, 1)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, self.heads, self.qk, 3).permute(4, 0, 2, 1, 3)
        return self.proj(self.mix(q, k, v))


class Separate(Attention):
    """Hugging Face: three linears, view and permute, scores divided by the root."""

    def __init__(self, c):
        super().__init__(c)
        self.query = nn.Linear(c.dim, c.heads * c.qk)
        self.key = nn.Linear(c.dim, c.heads * c.qk)
        self.value = nn.Linear(c.dim, c.heads * c.vo)

    def set(self, wq, bq, wk, bk, wv, bv, wo, bo):
        for l, w, b in ((self.query, wq, bq), (self.key, wk, bk), (self.value, wv, bv), (self.proj, wo, bo)):
            put(l, w, b)

    def split(self, x):
        return x.view(x.size()[:-1] + (self.heads, x.size(-1) // self.heads)).permute(0, 2, 1, 3)

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        s = torch.matmul(q, k.transpose(-1, -2)) / self.qk ** 0.5
        out = torch.matmul(F.softmax(s, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        return self.proj(out.view(out.size()[:-2] + (self.heads * self.vo,)))


class MultiHead(nn.Module):
    """torch.nn.MultiheadAttention, batch first as in torchvision."""

    first = True

    def __init__(self, c):
        super().__init__()
        self.attention = nn.MultiheadAttention(c.dim, c.heads, batch_first=self.first)

    def set(self, wq, bq, wk, bk, wv, bv, wo, bo):
        with torch.no_grad():
            self.attention.in_proj_weight.copy_(torch.cat([wq, wk, wv]))
            self.attention.in_proj_bias.copy_(torch.cat([bq, bk, bv]))
        put(self.attention.out_proj, wo, bo)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class MultiHeadSequence(MultiHead):
    """torch.nn.MultiheadAttention with the sequence first."""

    first = False

    def forward(self, x):
        x = x.transpose(0, 1)
        return self.attention(x, x, x, need_weights=False)[0].transpose(0, 1)


class ConvAttention(Packed):
    """1x1 convolutions in place of linears, channels before tokens."""

    def __init__(self, c):
        super().__init__(c)
        self.qkv = nn.Conv1d(c.dim, 3 * c.heads * c.qk, 1)
        self.proj = nn.Conv1d(c.heads * c.vo, c.dim, 1)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x.transpose(1, 2)).view(b, 3, self.heads, self.qk, n).unbind(1)
        a = (q.transpose(-2, -1) @ k * self.scale).softmax(dim=-1)
        return self.proj((v @ a.transpose(-2, -1)).reshape(b, d, n)).transpose(1, 2)


class Mlp(nn.Module):
    """Two linears around an activation."""

    gated = False

    def __init__(self, c):
        super().__init__()
        self.fc1 = nn.Linear(c.dim, c.hidden)
        self.fc2 = nn.Linear(c.hidden, c.dim)

    def set(self, w1, b1, w2, b2):
        put(self.fc1, w1, b1)
        put(self.fc2, w2, b2)

    def plain(self):
        return dict(w1=self.fc1.weight.detach(), b1=self.fc1.bias.detach(),
                    w2=self.fc2.weight.detach(), b2=self.fc2.bias.detach())

    def act(self, h):
        return F.gelu(h)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class TanhGelu(Mlp):
    def act(self, h):
        return F.gelu(h, approximate="tanh")


class QuickGelu(Mlp):
    def act(self, h):
        return h * torch.sigmoid(1.702 * h)


class Silu(Mlp):
    def act(self, h):
        return F.silu(h)


class Relu(Mlp):
    def act(self, h):
        return F.relu(h)


class HardSwish(Mlp):
    def act(self, h):
        return F.hardswish(h)


class ConvMlp(Mlp):
    """1x1 convolutions in place of linears."""

    def __init__(self, c):
        super().__init__(c)
        self.fc1 = nn.Conv1d(c.dim, c.hidden, 1)
        self.fc2 = nn.Conv1d(c.hidden, c.dim, 1)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x.transpose(1, 2)))).transpose(1, 2)


class SwiGlu(Mlp):
    """Gated: silu(gate) times value, from two linears."""

    gated = True

    def __init__(self, c):
        super().__init__(c)
        self.gate = nn.Linear(c.dim, c.hidden)

    def set(self, w1, b1, w2, b2, wg, bg):
        super().set(w1, b1, w2, b2)
        put(self.gate, wg, bg)

    def forward(self, x):
        return self.fc2(F.silu(self.gate(x)) * self.fc1(x))


class SwiGluChunk(Mlp):
    """Gated: both halves come out of one linear of twice the width."""

    gated = True

    def __init__(self, c):
        super().__init__(c)
        self.fc1 = nn.Linear(c.dim, 2 * c.hidden)

    def set(self, w1, b1, w2, b2, wg, bg):
        put(self.fc1, torch.cat([wg, w1]), torch.cat([bg, b1]))
        put(self.fc2, w2, b2)

    def forward(self, x):
        g, h = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(F.silu(g) * h)


ATTENTION = {
    "packed": Packed, "packed_query": PackedQuery, "packed_both": PackedBoth, "packed_nobias": PackedNoBias,
    "packed_index": PackedIndex, "chunk": Chunk, "split_uneven": SplitUneven, "interleaved": Interleaved,
    "interleaved4": Interleaved4, "innermost": Innermost, "separate": Separate, "mha": MultiHead,
    "mha_sequence": MultiHeadSequence, "conv": ConvAttention,
}
MLP = {
    "gelu": Mlp, "gelu_tanh": TanhGelu, "gelu_quick": QuickGelu, "silu": Silu, "relu": Relu,
    "hardswish": HardSwish, "conv": ConvMlp, "swiglu": SwiGlu, "swiglu_chunk": SwiGluChunk,
}
