"""Spellings that add something to plain attention or a plain MLP.

Some still allow every width to shrink (a mask, a bias on the scores, windows);
others forbid one or more of them. FORBID says which widths must stay and why.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from spellings import ATTENTION, MLP, Mlp, Packed, Separate


class Scored(Packed):
    """Packed attention with a hook on the scores and on queries and keys."""

    def head(self, q, k):
        return q, k

    def scores(self, s):
        return s

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, self.qk).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.head(q, k)
        a = self.scores((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((a @ v).transpose(1, 2).reshape(b, n, d))


class Masked(Scored):
    """A constant additive mask on the scores: each token sees its neighbours and the first token."""

    def __init__(self, c):
        super().__init__(c)
        i = torch.arange(c.tokens)
        near = ((i[:, None] - i[None, :]).abs() <= 5) | (i[None, :] == 0)
        self.register_buffer("mask", torch.where(near, 0.0, -100.0))

    def scores(self, s):
        return s + self.mask


class Relative(Scored):
    """A learned bias per head and relative position, gathered from a table."""

    def __init__(self, c):
        super().__init__(c)
        n, side = c.tokens, c.image // c.patch
        yx = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        rel = yx[:, :, None] - yx[:, None, :] + side - 1
        index = rel[0] * (2 * side - 1) + rel[1]
        extra = n - side * side
        full = torch.full((n, n), (2 * side - 1) ** 2)
        full[extra:, extra:] = index
        self.register_buffer("index", full)
        self.table = nn.Parameter(torch.zeros((2 * side - 1) ** 2 + 1, c.heads))

    def scores(self, s):
        n = self.index.shape[0]
        bias = self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1)
        return s + bias.unsqueeze(0)


class Temperature(Scored):
    """A learned scale per head on the scores."""

    def __init__(self, c):
        super().__init__(c)
        self.tau = nn.Parameter(torch.ones(c.heads, 1, 1))

    def scores(self, s):
        return s * self.tau


class Windowed(Packed):
    """Attention within windows of half the side, without a class token."""

    def __init__(self, c):
        super().__init__(c)
        self.side = c.image // c.patch

    def forward(self, x):
        b, n, d = x.shape
        s, w = self.side, self.side // 2
        x = x.view(b, 2, w, 2, w, d).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, d)
        x = super().forward(x)
        return x.view(b, 2, 2, w, w, d).permute(0, 1, 3, 2, 4, 5).reshape(b, n, d)


class QueryKeyNorm(Scored):
    """A LayerNorm over the channels of each head's queries and keys."""

    def __init__(self, c):
        super().__init__(c)
        self.q_norm = nn.LayerNorm(c.qk, eps=1e-6)
        self.k_norm = nn.LayerNorm(c.qk, eps=1e-6)

    def head(self, q, k):
        return self.q_norm(q), self.k_norm(k)


class Cosine(Scored):
    """Queries and keys of unit length."""

    def head(self, q, k):
        return F.normalize(q, dim=-1), F.normalize(k, dim=-1)


class Rotary(Scored):
    """Rotary position embedding: halves of each head rotated by the token's position."""

    def __init__(self, c):
        super().__init__(c)
        f = 1.0 / 100 ** (torch.arange(0, c.qk, 2) / c.qk)
        a = torch.outer(torch.arange(c.tokens).float(), f)
        self.register_buffer("cos", torch.cat([a, a], 1).cos())
        self.register_buffer("sin", torch.cat([a, a], 1).sin())

    def turn(self, x):
        a, b = x.chunk(2, dim=-1)
        return x * self.cos + torch.cat([-b, a], dim=-1) * self.sin

    def head(self, q, k):
        return self.turn(q), self.turn(k)


class TalkingHeads(Scored):
    """A linear map over the heads before the softmax."""

    def __init__(self, c):
        super().__init__(c)
        self.talk = nn.Linear(c.heads, c.heads)

    def scores(self, s):
        return self.talk(s.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelSoftmax(Packed):
    """Linear attention: softmax over channels and over tokens, no N x N scores."""

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, self.qk).permute(2, 0, 3, 1, 4).unbind(0)
        kv = k.softmax(dim=-2).transpose(-2, -1) @ v
        return self.proj((q.softmax(dim=-1) @ kv).transpose(1, 2).reshape(b, n, d))


class Einsum(Packed):
    """Both products written as einsum."""

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, self.qk).unbind(2)
        a = (torch.einsum("bihq,bjhq->bhij", q, k) * self.scale).softmax(dim=-1)
        return self.proj(torch.einsum("bhij,bjhv->bihv", a, v).reshape(b, n, d))


class ValueGate(Packed):
    """The mixed values of each head pass through a softmax over channels."""

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, self.qk).permute(2, 0, 3, 1, 4).unbind(0)
        a = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        y = a @ v
        return self.proj((y * y.softmax(dim=-1)).transpose(1, 2).reshape(b, n, d))


class SharedQueryKey(Separate):
    """One linear makes both queries and keys."""

    def __init__(self, c):
        super().__init__(c)
        self.key = self.query


class OneKeyHead(Separate):
    """Multi-query attention: all heads share one key and one value head."""

    def __init__(self, c):
        super().__init__(c)
        self.key = nn.Linear(c.dim, c.qk)
        self.value = nn.Linear(c.dim, c.vo)

    def set(self, wq, bq, wk, bk, wv, bv, wo, bo):
        q, v = self.qk, self.vo
        super().set(wq, bq, wk[:q], bk[:q], wv[:v], bv[:v], wo, bo)

    def forward(self, x):
        b, n, d = x.shape
        q = self.query(x).view(b, n, self.heads, self.qk).transpose(1, 2)
        k, v = self.key(x).unsqueeze(1), self.value(x).unsqueeze(1)
        a = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((a @ v).transpose(1, 2).reshape(b, n, self.heads * self.vo))


class Tapped(Mlp):
    """The hidden activation has a second consumer."""

    def forward(self, x):
        h = self.act(self.fc1(x))
        return self.fc2(h) + h.mean(dim=-1, keepdim=True)


class SubNorm(Mlp):
    """A LayerNorm over the hidden activation."""

    def __init__(self, c):
        super().__init__(c)
        self.sub = nn.LayerNorm(c.hidden, eps=1e-6)

    def act(self, h):
        return self.sub(F.gelu(h))


class Shuffled(Mlp):
    """A softmax over the hidden channels in place of an activation."""

    def act(self, h):
        return h.softmax(dim=-1)


ATTENTION.update({
    "mask": Masked, "relative_bias": Relative, "temperature": Temperature, "window": Windowed,
    "qk_norm": QueryKeyNorm, "cosine": Cosine, "rotary": Rotary, "talking_heads": TalkingHeads,
    "channel_softmax": ChannelSoftmax, "einsum": Einsum, "value_gate": ValueGate,
    "shared_qk": SharedQueryKey, "one_key_head": OneKeyHead,
})
MLP.update({"tapped": Tapped, "sub_norm": SubNorm, "hidden_softmax": Shuffled})

# Widths that must stay, and why.
FORBID = {
    "qk_norm": (("qk",), "norm between the linear and the scores"),
    "cosine": (("qk",), "norm between the linear and the scores"),
    "rotary": (("qk",), "rotary embedding between the linear and the scores"),
    "talking_heads": (("qk",), "heads are mixed before the softmax"),
    "channel_softmax": (("qk", "vo"), "softmax over channels"),
    "value_gate": (("vo",), "softmax over channels between the mixed values and the output linear"),
    "shared_qk": (("qk",), "weights shared by several users"),
    "one_key_head": (("qk", "vo"), "weights shared by several users"),
    "tapped": (("hidden",), "hidden activation has another consumer"),
    "sub_norm": (("hidden",), "norm over the hidden activation"),
    "hidden_softmax": (("hidden",), "softmax over channels"),
}
