#!/usr/bin/env python3
"""Draws the image set "vehicles seen from a drone" and packs it into a zip.

Every image is a function of (seed, split, class, index) alone: the same four
values give the same JPEG bytes under the same version of Pillow. An image is
48x48 RGB, drawn at three times that size from polygons with a height, seen
from a random direction and altitude, lit from a random side, over a random
ground with clutter, then blurred, given sensor noise and compressed.

The zip holds train/CLASS/NNNN.jpg, val/... and test/..., stored without
compression and with fixed dates.
"""

import argparse
import io
import math
import os
import zipfile

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from shapes import CLASSES, WATER, convex, dark, dim, hsv, paint, rect, turned

SIZE = 48
SUPER = 3
SEED = 20240
SPLITS = {"train": 0, "val": 1, "test": 2}
COUNTS = {"train": 60, "val": 25, "test": 50}


# ---- painting --------------------------------------------------------------

def noise(r, cells, n):
    """Smooth noise of n x n pixels, about -1..1, with the given cells a side."""
    f = Image.fromarray(r.standard_normal((cells, cells)).astype(np.float32), mode="F")
    return np.asarray(f.resize((n, n), Image.BICUBIC))


def ground(r, wet, n):
    """The ground as float32 [n, n, 3] and its base colour."""
    kinds = ["asphalt", "grass", "dirt", "sand", "concrete", "snow"]
    kind = "water" if wet else kinds[int(r.choice(6, p=[0.3, 0.22, 0.16, 0.1, 0.16, 0.06]))]
    base = {"water": hsv(r.uniform(0.48, 0.62), r.uniform(0.3, 0.75), r.uniform(0.25, 0.65)),
            "asphalt": (int(r.integers(55, 125)),) * 3,
            "grass": hsv(r.uniform(0.18, 0.36), r.uniform(0.3, 0.7), r.uniform(0.25, 0.6)),
            "dirt": hsv(r.uniform(0.05, 0.11), r.uniform(0.25, 0.6), r.uniform(0.3, 0.6)),
            "sand": hsv(r.uniform(0.09, 0.14), r.uniform(0.2, 0.45), r.uniform(0.65, 0.9)),
            "concrete": (int(r.integers(130, 195)),) * 3,
            "snow": (int(r.integers(205, 240)),) * 3}[kind]
    rough = r.uniform(4, 15)
    tex = noise(r, 5, n) * rough + noise(r, 18, n) * rough * 0.7 + noise(r, 60, n) * rough * 0.7
    if kind == "water":
        a, f = r.uniform(0, math.pi), r.uniform(0.15, 0.5)
        yy, xx = np.mgrid[0:n, 0:n]
        tex += np.sin((xx * math.cos(a) + yy * math.sin(a)) * f + noise(r, 8, n) * 2) * r.uniform(2, 12)
    img = np.array(base, np.float32) + tex[..., None] * np.array([1, r.uniform(0.8, 1.1), r.uniform(0.7, 1.1)], np.float32)
    img = Image.fromarray(np.clip(img, 0, 255).astype(np.uint8))
    d = ImageDraw.Draw(img, "RGBA")
    if kind in ("asphalt", "concrete") and r.random() < 0.75:
        lines(r, d, n, base)
    return img, d, kind


def lines(r, d, n, base):
    """Lane marks, kerbs and joints."""
    a = r.uniform(0, math.pi)
    u = np.array([math.cos(a), math.sin(a)])
    v = np.array([-u[1], u[0]])
    col = [(235, 235, 230), (225, 190, 60), dim(base, 0.6), dim(base, 1.3)][int(r.integers(4))]
    step, width = r.uniform(0.25, 0.6) * n, max(1, int(r.uniform(0.008, 0.03) * n))
    dash = r.random() < 0.5
    for k in range(-2, 3):
        c = np.array([n / 2, n / 2]) + v * (k * step + r.uniform(-0.1, 0.1) * n)
        if dash:
            for t in np.arange(-0.8, 0.8, 0.22):
                d.line([tuple(c + u * t * n), tuple(c + u * (t + 0.12) * n)], fill=col + (220,), width=width)
        else:
            d.line([tuple(c - u * n), tuple(c + u * n)], fill=col + (220,), width=width)


def clutter(r, d, n, kind, near):
    """Trees, stones, poles and boxes; near ones may cover part of the vehicle."""
    for _ in range(int(r.integers(0, 2 if near else 6))):
        if near:
            a, rad = r.uniform(0, 2 * math.pi), r.uniform(0.34, 0.62) * n
            x, y = n / 2 + rad * math.cos(a), n / 2 + rad * math.sin(a)
        else:
            x, y = r.uniform(0, n, 2)
        s = r.uniform(0.03, 0.13) * n
        u = r.random()
        if u < 0.5:
            tone = hsv(r.uniform(0.2, 0.38), r.uniform(0.3, 0.7), r.uniform(0.15, 0.5))
            if kind in ("water", "snow"):
                tone = (int(r.integers(180, 245)),) * 3
            for _ in range(6):
                q = r.uniform(-0.6, 0.6, 2) * s
                e = s * r.uniform(0.5, 0.9)
                d.ellipse([x + q[0] - e, y + q[1] - e, x + q[0] + e, y + q[1] + e], fill=dim(tone, r.uniform(0.7, 1.3)) + (235,))
        elif u < 0.75:
            p = turned(rect(-s, s, s * r.uniform(0.3, 1.6)), r.uniform(0, math.pi)) + (x, y)
            d.polygon([tuple(q) for q in p], fill=paint(r) + (255,))
        else:
            a, e = r.uniform(0, math.pi), s * r.uniform(1.5, 5)
            d.line([x - e * math.cos(a), y - e * math.sin(a), x + e * math.cos(a), y + e * math.sin(a)],
                   fill=paint(r) + (200,), width=max(1, int(s * 0.15)))


def draw(name, r):
    """One image of the class, [48, 48, 3] uint8, from a numpy Generator."""
    n = SIZE * SUPER
    parts, half = CLASSES[name](r)
    img, d, kind = ground(r, r.random() < WATER.get(name, 0.0), n)
    clutter(r, d, n, kind, near=False)

    heading, tilt = r.uniform(0, 2 * math.pi), r.uniform(0, 0.75)
    # Altitude hides most of the true size: longer vehicles are only a little larger.
    px = n * r.uniform(0.32, 0.45) / half ** 0.75
    centre = np.array([n / 2, n / 2 + px * 0.2]) + r.uniform(-0.09, 0.09, 2) * n
    squeeze = r.uniform(0.88, 1.12)
    bend = np.array([[px * squeeze, 0], [0, px / squeeze]])
    up = np.array([0, -math.sin(tilt) * px])

    def project(points, z):
        p = turned(points @ bend, heading)
        return p * (1, math.cos(tilt)) + centre + up * z

    sun = r.uniform(0, 2 * math.pi)
    cast = np.array([math.cos(sun), math.sin(sun)]) * px * r.uniform(0.0, 0.7)
    mask = Image.new("L", (n, n), 0)
    md = ImageDraw.Draw(mask)
    for p in parts:
        if p.alpha > 100:
            low, high = project(p.points, 0) + cast * p.z0, project(p.points, 0) + cast * p.z1
            md.polygon([tuple(q) for q in convex(np.concatenate([low, high]))], fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(r.uniform(0.5, 4)))
    depth = r.uniform(0.15, 0.6)
    img.paste(Image.new("RGB", (n, n), (12, 14, 22)), mask=mask.point(lambda v: int(v * depth)))

    d = ImageDraw.Draw(img, "RGBA")
    if kind == "water" and name in ("boat", "sailboat") and r.random() < 0.5:
        for s in (-1, 1):
            w = project(np.array([(-half, 0.1 * s), (-half - 1.4, 0.2 * s), (-half - 1.4, 0.6 * s)]), 0)
            d.polygon([tuple(q) for q in w], fill=(235, 240, 245, int(r.integers(30, 130))))
    side = r.uniform(0.45, 0.85)
    for p in sorted(parts, key=lambda p: p.z0):
        low, high = project(p.points, p.z0), project(p.points, p.z1)
        if p.z1 > p.z0 and p.alpha == 255:
            d.polygon([tuple(q) for q in convex(np.concatenate([low, high]))], fill=dim(p.colour, side))
        d.polygon([tuple(q) for q in high], fill=p.colour + (p.alpha,))
    clutter(r, d, n, kind, near=True)

    x = np.asarray(img.reduce(SUPER).filter(ImageFilter.GaussianBlur(r.uniform(0.0, 0.7))), np.float32) / 255
    # Light: gain, gradient over the frame, colour cast, gamma; then sensor noise.
    yy, xx = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    a = r.uniform(0, 2 * math.pi)
    light = r.uniform(0.65, 1.2) * (1 + r.uniform(0, 0.5) * (xx * math.cos(a) + yy * math.sin(a)))
    x = np.clip(x * light[..., None] * r.uniform(0.9, 1.1, 3), 0, 1) ** r.uniform(0.8, 1.3)
    x = (x - 0.5) * r.uniform(0.7, 1.1) + 0.5 + r.uniform(-0.06, 0.06)
    x += r.standard_normal(x.shape) * r.uniform(0.01, 0.04)
    return (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)


def jpeg(name, split, index, seed=SEED):
    """The JPEG bytes of one image of the set."""
    key = [seed, SPLITS[split], list(CLASSES).index(name), index]
    r = np.random.default_rng(np.random.SeedSequence(key))
    out = io.BytesIO()
    Image.fromarray(draw(name, r)).save(out, "JPEG", quality=88)
    return out.getvalue()


def pack(path, seed, counts):
    """Writes the zip: stored members in a fixed order with a fixed date."""
    with zipfile.ZipFile(path + ".part", "w", zipfile.ZIP_STORED) as z:
        for split in SPLITS:
            for name in CLASSES:
                for i in range(counts[split]):
                    info = zipfile.ZipInfo(f"{split}/{name}/{i:04d}.jpg", (1980, 1, 1, 0, 0, 0))
                    info.external_attr = 0o644 << 16
                    z.writestr(info, jpeg(name, split, i, seed))
    os.replace(path + ".part", path)


def sheet(path, seed, split, rows=14):
    """Writes a contact sheet, one class per column, for the eye."""
    out = Image.new("RGB", (len(CLASSES) * (SIZE + 2), rows * (SIZE + 2)), (255, 255, 255))
    for c, name in enumerate(CLASSES):
        for i in range(rows):
            out.paste(Image.open(io.BytesIO(jpeg(name, split, i, seed))), (c * (SIZE + 2), i * (SIZE + 2)))
    out.save(path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "data", "vehicles.zip"))
    p.add_argument("--seed", type=int, default=SEED)
    for split, n in COUNTS.items():
        p.add_argument("--" + split, type=int, default=n, metavar="N", help=f"images a class in {split} (default {n})")
    p.add_argument("--sheet", metavar="PNG", help="write a contact sheet of the train split instead")
    a = p.parse_args()
    if a.sheet:
        sheet(a.sheet, a.seed, "train")
    else:
        pack(a.out, a.seed, {s: getattr(a, s) for s in SPLITS})


if __name__ == "__main__":
    main()
