#!/usr/bin/env python3
"""Trains the two Vision Transformers on freshly drawn images.

The first has a class token; the second averages its tokens, starts from the
weights of the first and is tuned for a few epochs. Training images are the
train split of draw.py, continued far beyond the images in the committed zip;
val and test images are drawn from other seeds, and an overlap is an error.
Training keeps a checkpoint and goes on from it when started again.
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import draw
from vit import Config, ViT, convert


def one(job):
    split, name, index = job
    data = draw.jpeg(name, split, index)
    return hashlib.sha256(data).digest(), np.asarray(Image.open(io.BytesIO(data)))


def images(split, per_class, workers):
    """Images uint8 [n, 48, 48, 3], labels int64 [n] and the digests of the JPEGs."""
    names = list(draw.CLASSES)
    jobs = [(split, c, i) for i in range(per_class) for c in names]
    with multiprocessing.Pool(workers) as pool:
        out = pool.map(one, jobs, chunksize=64)
    return np.stack([x for _, x in out]), np.array([names.index(c) for _, c, _ in jobs]), {h for h, _ in out}


def normalized(x):
    """uint8 [n, 48, 48, 3] to float [n, 3, 48, 48], mean and std 0.5."""
    return (torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


@torch.no_grad()
def logits(model, x, size=256):
    model.eval()
    return torch.cat([model(normalized(x[i:i + size])) for i in range(0, len(x), size)])


def accuracy(model, x, y):
    return (logits(model, x).argmax(1).numpy() == y).mean()


def augmented(x, rng):
    """One of the eight symmetries of the square for the batch: seen from above, all keep the class."""
    k = rng.integers(8)
    x = np.rot90(x, k % 4, axes=(1, 2))
    return x[:, :, ::-1] if k >= 4 else x


def train(model, data, val, epochs, lr, seed, path, threads):
    torch.set_num_threads(threads)
    x, y = data
    batch, warm = 128, 2
    steps = len(x) // batch
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=lr)
    first = 0
    if os.path.exists(path):
        s = torch.load(path)
        model.load_state_dict(s["model"])
        opt.load_state_dict(s["opt"])
        first = s["epoch"]
    for epoch in range(first, epochs):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(x))
        model.train()
        begin, total = time.time(), 0.0
        for i in range(steps):
            done = epoch + i / steps
            rate = lr * min(done / warm + 1e-2, 1.0) * (0.5 + 0.5 * np.cos(np.pi * done / epochs))
            for g in opt.param_groups:
                g["lr"] = rate
            at = np.sort(order[i * batch:(i + 1) * batch])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = model(normalized(augmented(x[at], rng)))
            loss = F.cross_entropy(out.float(), torch.from_numpy(y[at]), label_smoothing=0.05)
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            total += loss.item()
        torch.save({"model": model.state_dict(), "opt": opt.state_dict(), "epoch": epoch + 1}, path + ".part")
        os.replace(path + ".part", path)
        print(f"epoch {epoch + 1}/{epochs} loss {total / steps:.3f} val {accuracy(model, *val):.4f} "
              f"{time.time() - begin:.0f} s", flush=True)
    model.eval()


def fresh(config, seed):
    torch.manual_seed(seed)
    m = ViT(config)
    for p in (m.cls_token, m.pos_embed):
        torch.nn.init.trunc_normal_(p, std=0.02)
    for l in m.modules():
        if isinstance(l, torch.nn.Linear):
            torch.nn.init.trunc_normal_(l.weight, std=0.06)
            torch.nn.init.zeros_(l.bias)
    return m


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True, metavar="DIR", help="folder for cls.pt, mean.pt and results.json")
    p.add_argument("--init", metavar="DIR", help="start from cls.pt of an earlier run")
    p.add_argument("--per-class", type=int, default=2200, help="training images a class")
    p.add_argument("--epochs", type=int, default=26)
    p.add_argument("--mean-epochs", type=int, default=3)
    p.add_argument("--lr", type=float, default=1.5e-3)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)

    begin = time.time()
    x, y, seen = images("train", a.per_class, a.threads)
    vx, vy, vh = images("val", draw.COUNTS["val"], a.threads)
    tx, ty, th = images("test", draw.COUNTS["test"], a.threads)
    if seen & (vh | th) or vh & th:
        raise SystemExit("train, val and test images overlap")
    print(f"{len(x)} train, {len(vx)} val, {len(tx)} test images in {time.time() - begin:.0f} s", flush=True)

    config = Config(classes=len(draw.CLASSES))
    results = {}
    model = fresh(config, a.seed)
    if a.init:
        model.load_state_dict(torch.load(os.path.join(a.init, "cls.pt")))
    train(model, (x, y), (vx, vy), a.epochs, a.lr, a.seed, os.path.join(a.out, "cls.ckpt"), a.threads)
    mean = convert(model, config.but(pool="mean"))
    train(mean, (x, y), (vx, vy), a.mean_epochs, a.lr / 4, a.seed + 1, os.path.join(a.out, "mean.ckpt"), a.threads)
    for name, m in (("cls", model), ("mean", mean)):
        torch.save(m.state_dict(), os.path.join(a.out, name + ".pt"))
        hit = logits(m, tx).argmax(1).numpy() == ty
        results[name] = {"val": float(accuracy(m, vx, vy)), "test": float(hit.mean()),
                         "per_class": {c: float(hit[ty == i].mean()) for i, c in enumerate(draw.CLASSES)}}
    with open(os.path.join(a.out, "results.json"), "w") as f:
        json.dump(results, f, indent=1)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
