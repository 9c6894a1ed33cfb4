"""Models around and beside Vision Transformers: mixers, XCiT, text encoders, detectors, segmenters."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

import plant
from zoo_plain import CLASSES, DIM, HEADS, WIDTH, Attention, Block, ClassBlock, HfAttention, LayerScale, Mlp, Vit


class MixerBlock(nn.Module):
    """MLP-Mixer: an MLP along the tokens, then one along the channels."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.mlp_tokens, self.mlp_channels = Mlp(16, 24), Mlp()

    def forward(self, x):
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_channels(self.norm2(x))


class Mixer(Vit):
    def __init__(self):
        super().__init__(MixerBlock, prefix=0)

    def forward(self, x):
        return self.head(self.norm(self.features(x)).mean(dim=1))


class CrossCovariance(nn.Module):
    """XCiT: channels attend to channels; queries and keys are unit vectors over the tokens."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(HEADS, 1, 1))
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, HEADS, C // HEADS).permute(2, 0, 3, 4, 1)
        q, k, v = qkv.unbind(0)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attn = ((q @ k.transpose(-2, -1)) * self.temperature).softmax(dim=-1)
        return self.proj((attn @ v).permute(0, 3, 1, 2).reshape(B, N, C))


class Lpi(nn.Module):
    """XCiT's local patch interaction: two depthwise convolutions."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(DIM, DIM, 3, padding=1, groups=DIM), nn.Conv2d(DIM, DIM, 3, padding=1, groups=DIM)
        self.bn = nn.BatchNorm2d(DIM)

    def forward(self, x):
        B, N, C = x.shape
        x = x.permute(0, 2, 1).reshape(B, C, 4, 4)
        return self.conv2(self.bn(F.gelu(self.conv1(x)))).reshape(B, C, N).permute(0, 2, 1)


class XcaBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(DIM) for _ in range(3))
        self.attn, self.local_mp, self.mlp = CrossCovariance(), Lpi(), Mlp()
        self.gamma1, self.gamma2, self.gamma3 = (nn.Parameter(torch.ones(DIM)) for _ in range(3))

    def forward(self, x):
        x = x + self.gamma1 * self.attn(self.norm1(x))
        x = x + self.gamma3 * self.local_mp(self.norm3(x))
        return x + self.gamma2 * self.mlp(self.norm2(x))


class Xcit(Vit):
    def __init__(self):
        super().__init__(XcaBlock, prefix=0)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.late = ClassBlock()

    def forward(self, x):
        x = self.features(x)
        cls = self.cls_token.expand(x.shape[0], -1, -1)
        cls = self.late(x, cls)
        return self.head(self.norm(cls)[:, 0])


class Bert(nn.Module):
    """A BERT encoder: token, position and type embeddings, post-norm blocks, an attention mask, a pooler."""

    names = ("input_ids", "attention_mask", "token_type_ids")
    tokens, vocabulary = 12, 40

    def __init__(self):
        super().__init__()
        self.word, self.position, self.kind = nn.Embedding(self.vocabulary, DIM), nn.Embedding(self.tokens, DIM), nn.Embedding(2, DIM)
        self.norm = nn.LayerNorm(DIM, eps=1e-12)
        self.blocks = nn.ModuleList([Block(HfAttention(), order="post", eps=1e-12) for _ in range(2)])
        self.pooler, self.classifier = nn.Linear(DIM, DIM), nn.Linear(DIM, 3)
        self.register_buffer("ids", torch.arange(self.tokens).expand(1, -1))

    @staticmethod
    def example(batch):
        ids = torch.arange(batch * Bert.tokens).view(batch, -1) * 7 % Bert.vocabulary
        return ids, torch.ones_like(ids), torch.zeros_like(ids)

    def forward(self, input_ids, attention_mask, token_type_ids):
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * -10000.0
        x = self.norm(self.word(input_ids) + self.position(self.ids) + self.kind(token_type_ids))
        for b in self.blocks:
            x = b.norm1(x + b.attn(x, mask))
            x = b.norm2(x + b.mlp(x))
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


class Detector(Vit):
    """ViTDet in small: a plain backbone, a pyramid of its last map, scores and boxes; TopK or NMS behind."""

    def __init__(self, nms):
        super().__init__(prefix=0, classes=0)
        self.nms = nms
        self.up, self.lateral = nn.ConvTranspose2d(DIM, DIM, 2, stride=2), nn.ModuleList([nn.Conv2d(DIM, DIM, 1) for _ in range(2)])
        self.cls, self.box = nn.Conv2d(DIM, 3, 3, padding=1), nn.Conv2d(DIM, 4, 3, padding=1)

    def forward(self, x):
        x = self.norm(self.features(x))
        x = x.transpose(1, 2).reshape(x.shape[0], DIM, 4, 4)
        maps = [lateral(m) for lateral, m in zip(self.lateral, (self.up(x), x))]
        scores = torch.cat([self.cls(m).flatten(2) for m in maps], 2).transpose(1, 2).sigmoid()
        boxes = torch.cat([self.box(m).flatten(2) for m in maps], 2).transpose(1, 2)
        boxes = torch.cat((boxes[..., :2] - boxes[..., 2:].exp(), boxes[..., :2] + boxes[..., 2:].exp()), -1)
        best, label = scores.max(dim=2)
        if not self.nms:
            top, index = best.topk(8, dim=1)
            return torch.gather(boxes, 1, index.unsqueeze(2).expand(-1, -1, 4)), top, torch.gather(label, 1, index)
        keep = torchvision.ops.nms(boxes[0], best[0], 0.5)[:8]
        return boxes[0][keep], best[0][keep], label[0][keep]


def detector_topk():
    return Detector(False)


def detector_nms():
    return Detector(True)


class TwoOutputs(Vit):
    """Logits and the normalized tokens."""

    def forward(self, x):
        x = self.norm(self.features(x))
        return self.head(x[:, 0]), x


class ConvNextBlock(nn.Module):
    """ConvNeXt: a depthwise convolution, a norm, an MLP; no attention at all."""

    def __init__(self):
        super().__init__()
        self.dwconv, self.norm, self.mlp, self.ls = nn.Conv2d(DIM, DIM, 7, padding=3, groups=DIM), nn.LayerNorm(DIM), Mlp(), LayerScale()

    def forward(self, x):
        return x + self.ls(self.mlp(self.norm(self.dwconv(x).permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    image = 16

    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, DIM, 4, stride=4), nn.Sequential(ConvNextBlock(), ConvNextBlock())
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, CLASSES)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.stem(x)).mean(dim=(2, 3))))
