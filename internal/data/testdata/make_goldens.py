#!/usr/bin/env python3
"""Writes the goldens of this folder with Pillow (made with 9.4, libjpeg-turbo 2.1).

decode/NAME.EXT       an image file
decode/NAME.want.png  what Pillow's convert("RGB") makes of it
resize/source.png     an image, and what resize() makes of it in
resize/FILTER_WxH.png
fit/MODE.png          resize/source.png brought to 16 rows and 20 columns
"""
import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

here = os.path.dirname(os.path.abspath(__file__))


def scene(w, h, noise=15.0):
    """Waves, stripes and noise: every decoder has something to get wrong."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:h, :w]
    planes = [128 + 100 * np.sin(x / 3 + y / 7), 128 + 100 * np.cos(x / 5 - y / 4), (x * 17 + y * 11) % 256]
    a = np.stack(planes, -1) + rng.normal(0, noise, (h, w, 3))
    return Image.fromarray(a.clip(0, 255).astype("uint8"))


def encoded(im, fmt, **options):
    b = io.BytesIO()
    im.save(b, fmt, **options)
    return b.getvalue()


def put(path, data):
    path = os.path.join(here, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def case(name, data, want=None):
    if want is None:
        want = Image.open(io.BytesIO(data)).convert("RGB")
    put("decode/" + name, data)
    put("decode/" + name.split(".")[0] + ".want.png", encoded(want, "PNG", optimize=True))


def resampled(data, old, new):
    """Changes the luma sampling factors in the frame header. The number of
    blocks must come out the same; the picture is scrambled but valid."""
    at = data.index(b"\xff\xc0") + 11
    assert data[at] == old
    return data[:at] + bytes([new]) + data[at + 1:]


def png16(samples):
    """A 16-bit PNG, which Pillow cannot write in color."""
    h, w = samples.shape[:2]
    kind = 2 if samples.ndim == 3 else 0
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    def chunk(tag, body):
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 16, kind, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def with_alpha(im, mode):
    out = im.convert(mode)
    out.putalpha(im.getchannel(2))
    return out


def decode_cases():
    im = scene(33, 21)
    for i, name in enumerate(["444", "422", "420"]):
        case(f"jpeg{name}.jpg", encoded(im, "JPEG", quality=90, subsampling=i))
    square = scene(32, 32)
    case("jpeg440.jpg", resampled(encoded(square, "JPEG", quality=90, subsampling=1), 0x21, 0x12))
    case("jpeg411.jpg", resampled(encoded(square, "JPEG", quality=90, subsampling=2), 0x22, 0x41))
    case("jpeg_progressive.jpg", encoded(im, "JPEG", quality=60, progressive=True))
    for w, h in [(1, 1), (3, 7), (5, 5), (6, 2)]:
        case(f"jpeg_{w}x{h}.jpg", encoded(scene(w, h), "JPEG", quality=90))
    case("jpeg_gray.jpg", encoded(im.convert("L"), "JPEG", quality=90))
    case("jpeg_cmyk.jpg", encoded(im.convert("CMYK"), "JPEG", quality=90))

    case("png_rgb.png", encoded(im, "PNG"))
    case("png_rgba.png", encoded(with_alpha(im, "RGBA"), "PNG"))
    case("png_la.png", encoded(with_alpha(im, "LA"), "PNG"))
    case("png_gray.png", encoded(im.convert("L"), "PNG"))
    case("png_bits.png", encoded(im.convert("1"), "PNG"))
    case("png_palette.png", encoded(im.convert("P", palette=Image.Palette.ADAPTIVE, colors=11), "PNG", transparency=3))
    deep = np.asarray(im).astype("uint16") * 200 + 99
    case("png_rgb16.png", png16(deep))
    # Pillow saturates 16-bit gray at 255; the high byte is wanted.
    gray = deep[..., 0]
    case("png_gray16.png", png16(gray), Image.fromarray((gray >> 8).astype("uint8")).convert("RGB"))

    for w, h in [(33, 21), (16, 12), (1, 1), (2, 3)]:
        case(f"webp_{w}x{h}.webp", encoded(scene(w, h), "WEBP", quality=80))
    case("webp_alpha.webp", encoded(with_alpha(im, "RGBA"), "WEBP", quality=80))
    case("webp_lossless.webp", encoded(im, "WEBP", lossless=True))


def resize_cases():
    im = scene(48, 37, noise=60)
    put("resize/source.png", encoded(im, "PNG", optimize=True))
    for name in ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]:
        for w, h in [(21, 16), (70, 45), (48, 5), (13, 90)]:
            put(f"resize/{name}_{w}x{h}.png", encoded(im.resize((w, h), Image.Resampling[name.upper()]), "PNG", optimize=True))
    return im


def fit_cases(im):
    h, w = 16, 20

    def center(x):
        left, top = (x.width - w) // 2, (x.height - h) // 2
        return x.crop((left, top, left + w, top + h))

    bicubic = Image.Resampling.BICUBIC
    put("fit/squash.png", encoded(im.resize((w, h), bicubic), "PNG"))
    short = int(16 / 0.8)
    put("fit/shortest.png", encoded(center(im.resize((int(short * im.width / im.height), short), bicubic)), "PNG"))
    tall = im.transpose(Image.Transpose.ROTATE_90)
    put("fit/shortest_tall.png", encoded(center(tall.resize((short, int(short * tall.height / tall.width)), bicubic)), "PNG"))
    put("fit/center.png", encoded(center(im), "PNG"))
    put("fit/center_small.png", encoded(center(im.crop((0, 0, 9, 30))), "PNG"))


if __name__ == "__main__":
    decode_cases()
    fit_cases(resize_cases())
