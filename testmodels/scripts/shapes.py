"""The vehicles of the image set: outlines with heights and colours.

Each class is a function of a numpy Generator that returns a list of Parts and
half the vehicle's length. Nothing here knows about pixels.
"""

import math

import numpy as np


# ---- geometry: a vehicle is a list of parts in its own coordinates ---------
# x runs forward, y to the left, z up. One unit is about half a car.

class Part:
    """A convex outline with a bottom and a top height and a top colour."""

    def __init__(self, points, colour, z0=0.0, z1=0.0, alpha=255, shade=True):
        self.points = np.asarray(points, dtype=np.float64)
        self.colour = colour
        self.z0, self.z1 = z0, z1
        self.alpha = alpha
        self.shade = shade


def rect(x0, x1, w, y=0.0, cut=0.0, front=None):
    """A box outline from x0 to x1, w wide, with cut corners and a front width."""
    h, f = w / 2, (w if front is None else front) / 2
    if cut == 0:
        return [(x0, y - h), (x1, y - f), (x1, y + f), (x0, y + h)]
    c = cut
    return [(x0 + c, y - h), (x1 - c, y - f), (x1, y - f + c), (x1, y + f - c),
            (x1 - c, y + f), (x0 + c, y + h), (x0, y + h - c), (x0, y - h + c)]


def disc(x, y, r, n=14, ry=None):
    ry = r if ry is None else ry
    a = np.arange(n) * (2 * math.pi / n)
    return np.stack([x + r * np.cos(a), y + ry * np.sin(a)], 1)


def bar(x0, y0, x1, y1, w):
    """A straight bar of width w between two points."""
    d = np.array([x1 - x0, y1 - y0])
    n = np.array([-d[1], d[0]]) / (np.hypot(*d) + 1e-9) * (w / 2)
    a, b = np.array([x0, y0]), np.array([x1, y1])
    return np.array([a - n, b - n, b + n, a + n])


def turned(points, angle, x=0.0, y=0.0):
    p = np.asarray(points, dtype=np.float64) - (x, y)
    c, s = math.cos(angle), math.sin(angle)
    return p @ np.array([[c, s], [-s, c]]) + (x, y)


def convex(points):
    """The convex hull of 2-D points, counter-clockwise."""
    pts = sorted(map(tuple, points))

    def half(seq):
        out = []
        for p in seq:
            while len(out) > 1 and ((out[-1][0] - out[-2][0]) * (p[1] - out[-2][1])
                                    - (out[-1][1] - out[-2][1]) * (p[0] - out[-2][0])) <= 0:
                out.pop()
            out.append(p)
        return out[:-1]

    return half(pts) + half(pts[::-1])


def hulls(parts):
    for p in parts:
        p.points = np.array(convex(p.points))
    return parts


# ---- colours ---------------------------------------------------------------

def hsv(h, s, v):
    i = int(h * 6) % 6
    f = h * 6 - int(h * 6)
    p, q, t = v * (1 - s), v * (1 - f * s), v * (1 - (1 - f) * s)
    r, g, b = [(v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q)][i]
    return (int(255 * r), int(255 * g), int(255 * b))


def paint(r):
    """A car colour: mostly grey scale, else any hue."""
    if r.random() < 0.45:
        g = int(r.choice([30, 70, 120, 170, 215, 240]) + r.integers(-12, 13))
        return (g, g, min(255, g + int(r.integers(0, 10))))
    return hsv(r.random(), r.uniform(0.45, 0.95), r.uniform(0.35, 0.95))


def machine(r):
    """Colours of working machines, and sometimes any other."""
    u = r.random()
    if u < 0.45:
        return hsv(r.uniform(0.09, 0.15), r.uniform(0.7, 0.95), r.uniform(0.6, 0.95))
    if u < 0.65:
        return hsv(r.uniform(0.28, 0.4), r.uniform(0.4, 0.8), r.uniform(0.3, 0.6))
    return paint(r)


def drab(r):
    """Military greens and browns, and sometimes any machine colour."""
    if r.random() < 0.75:
        return hsv(r.uniform(0.1, 0.28), r.uniform(0.2, 0.5), r.uniform(0.25, 0.6))
    return machine(r)


def pale(r):
    g = int(r.integers(185, 250))
    return (g, g, int(np.clip(g + r.integers(-15, 6), 0, 255)))


def dim(c, k):
    return tuple(int(np.clip(v * k, 0, 255)) for v in c)


def dark(r):
    g = int(r.integers(15, 55))
    return (g, g, g + int(r.integers(0, 10)))


# ---- the classes -----------------------------------------------------------
# Each returns (parts, half length in units).

def car(r):
    c, glass = paint(r), dark(r)
    l, w = r.uniform(0.9, 1.08), r.uniform(0.8, 0.95)
    back = r.choice([-0.55, -0.75, -0.86]) * l
    front = r.uniform(0.25, 0.45) * l
    parts = [Part(rect(-l, l, w, cut=0.15), c, 0, 0.42)]
    if r.random() < 0.12:
        parts.append(Part(rect(back, front, w * 0.72, cut=0.06), dim(glass, 1.6), 0.42, 0.43))
        for y in (-0.17, 0.17):
            parts.append(Part(rect(-0.3, 0.0, 0.22, y), paint(r), 0.43, 0.5))
    else:
        parts.append(Part(rect(back, front, w * 0.84, cut=0.08, front=w * 0.8), glass, 0.42, 0.62))
        parts.append(Part(rect(back + 0.14 * l, front - 0.3 * l, w * 0.7, cut=0.05), c, 0.62, 0.7))
    return parts, l


def van(r):
    c, glass = (pale(r) if r.random() < 0.4 else paint(r)), dark(r)
    l, w = r.uniform(1.0, 1.25), r.uniform(0.85, 1.0)
    nose = r.uniform(0.68, 0.82) * l
    parts = [Part(rect(-l, l, w, cut=0.1), c, 0, 0.5),
             Part(rect(-l, nose + 0.08, w * 0.97, cut=0.05), glass, 0.5, 0.75),
             Part(rect(-l, nose - 0.12, w * 0.93, cut=0.05), c, 0.75, 0.95)]
    if r.random() < 0.35:
        for x in np.linspace(-0.8 * l, 0.3 * l, int(r.integers(2, 5))):
            parts.append(Part(rect(x, x + 0.06, w * 0.85), dim(c, 0.5), 0.95, 0.98))
    return parts, l


def pickup(r):
    c, glass = paint(r), dark(r)
    l, w = r.uniform(1.05, 1.25), r.uniform(0.85, 0.98)
    rear, front = r.uniform(-0.25, 0.0) * l, r.uniform(0.45, 0.55) * l
    parts = [Part(rect(-l, l, w, cut=0.1), c, 0, 0.45)]
    u = r.random()
    bed = rect(-0.94 * l, rear - 0.06, w * 0.78)
    if u < 0.65:
        parts.append(Part(bed, dim(c, 0.4) if r.random() < 0.5 else dark(r), 0.45, 0.45))
        if r.random() < 0.35:
            x = r.uniform(-0.7, -0.4) * l
            parts.append(Part(rect(x - 0.2, x + 0.2, r.uniform(0.3, 0.6)), paint(r), 0.45, r.uniform(0.5, 0.75)))
    else:
        parts.append(Part(bed, dim(c, r.uniform(0.6, 0.9)), 0.45, 0.47))
    parts.append(Part(rect(rear, front, w * 0.86, cut=0.06), glass, 0.45, 0.66))
    parts.append(Part(rect(rear + 0.07, front - 0.2 * l, w * 0.74, cut=0.04), c, 0.66, 0.74))
    return parts, l


def truck(r):
    c = paint(r)
    l, w = r.uniform(1.45, 1.85), r.uniform(0.82, 0.95)
    cab = l - r.uniform(0.45, 0.65)
    gap = r.uniform(0.04, 0.16)
    load = pale(r) if r.random() < 0.5 else paint(r)
    parts = [Part(rect(-l * 0.98, l * 0.9, w * 0.5), dark(r), 0, 0.3)]
    u = r.random()
    if u < 0.6:
        parts.append(Part(rect(-l, cab - gap, w), load, 0.2, r.uniform(0.95, 1.2)))
    elif u < 0.78:
        parts.append(Part(rect(-l, cab - gap, w * 0.9, cut=0.12), dim(load, 0.75), 0.25, 0.6))
        parts.append(Part(rect(-l + 0.05, cab - gap - 0.05, w * 0.5, cut=0.1), load, 0.6, 0.85))
    else:
        parts.append(Part(rect(-l, cab - gap, w), dim(load, 0.6), 0.2, 0.4))
        for _ in range(int(r.integers(1, 4))):
            x = r.uniform(-l + 0.25, cab - 0.4)
            parts.append(Part(rect(x - 0.2, x + 0.2, r.uniform(0.4, 0.8)), paint(r), 0.4, r.uniform(0.6, 0.9)))
    parts.append(Part(rect(cab, l, w * 0.95, cut=0.06), c, 0.1, 0.55))
    parts.append(Part(rect(cab, l - 0.1, w * 0.9, cut=0.04), dark(r), 0.55, 0.75))
    parts.append(Part(rect(cab, l - 0.22, w * 0.88, cut=0.04), c, 0.75, 0.85))
    return parts, l


def bus(r):
    c, glass = (pale(r) if r.random() < 0.3 else paint(r)), dark(r)
    l, w = r.uniform(1.5, 1.95), r.uniform(0.82, 0.95)
    roof = pale(r) if r.random() < 0.35 else c
    parts = [Part(rect(-l, l, w, cut=0.06), c, 0, 0.5),
             Part(rect(-l, l, w * 0.98, cut=0.06), glass, 0.5, 0.8),
             Part(rect(-l, l - r.uniform(0.06, 0.18), w * 0.95, cut=0.06), roof, 0.8, 0.95)]
    for _ in range(int(r.integers(0, 4))):
        x = r.uniform(-0.8, 0.6) * l
        parts.append(Part(rect(x - 0.14, x + 0.14, r.uniform(0.3, 0.6)), dim(roof, r.uniform(0.6, 1.15)), 0.95, 1.03))
    if r.random() < 0.2:
        parts.append(Part(rect(-0.06, 0.06, w), dark(r), 0.95, 0.96))
    return parts, l


def tank(r):
    c = drab(r)
    l, w = r.uniform(0.95, 1.15), r.uniform(1.05, 1.2)
    parts = []
    for y in (-1, 1):
        parts.append(Part(rect(-l, l, w * 0.26, y * w * 0.38, cut=0.08), dark(r), 0, 0.3))
    parts.append(Part(rect(-l * 0.96, l * 0.92, w * 0.66, cut=0.1), c, 0.1, 0.4))
    a = r.choice([0.0, 0.0, r.uniform(-math.pi, math.pi)]) + r.normal(0, 0.1)
    tx = r.uniform(-0.25, 0.1)
    parts.append(Part(turned(bar(tx, 0, tx + r.uniform(1.1, 1.6), 0, 0.13), a, tx, 0), dim(c, 0.7), 0.55, 0.6))
    tur = disc(tx, 0, r.uniform(0.38, 0.48), 12) if r.random() < 0.5 else rect(tx - 0.45, tx + 0.42, 0.75, cut=0.15, front=0.6)
    parts.append(Part(turned(tur, a, tx, 0), dim(c, r.uniform(0.85, 1.2)), 0.4, 0.68))
    parts.append(Part(turned(disc(tx - 0.1, 0.15, 0.11, 8), a, tx, 0), dim(c, 0.6), 0.68, 0.72))
    return parts, l * 1.2


def excavator(r):
    c = machine(r) if r.random() < 0.8 else drab(r)
    l, w = r.uniform(0.8, 1.0), r.uniform(0.95, 1.15)
    parts = []
    for y in (-1, 1):
        parts.append(Part(rect(-l, l, w * 0.27, y * w * 0.37, cut=0.08), dark(r), 0, 0.28))
    parts.append(Part(rect(-0.3, 0.3, w * 0.6), dark(r), 0.1, 0.25))
    a = r.choice([0.0, 0.0, r.uniform(-math.pi, math.pi)]) + r.normal(0, 0.15)
    house = rect(-0.75, 0.5, w * 0.8, cut=0.1)
    parts.append(Part(turned(house, a), c, 0.3, 0.6))
    parts.append(Part(turned(rect(-0.05, 0.48, 0.32, 0.2), a), dark(r), 0.6, 0.8))
    reach, y = r.uniform(1.0, 1.5), -0.12
    parts.append(Part(turned(bar(0.3, y, reach, y, 0.18), a), dim(c, 0.85), 0.65, 0.85))
    parts.append(Part(turned(rect(reach - 0.1, reach + 0.18, r.uniform(0.3, 0.48), y), a), dark(r), 0.3, 0.6))
    return parts, l * 1.25


def tractor(r):
    c = machine(r)
    l = r.uniform(0.9, 1.05)
    big, small = r.uniform(0.28, 0.36), r.uniform(0.16, 0.22)
    parts = []
    for y in (-1, 1):
        parts.append(Part(rect(-l * 0.9, -l * 0.9 + 2.2 * big, 0.27, y * 0.5, cut=0.06), dark(r), 0, 0.6))
        parts.append(Part(rect(l * 0.45, l * 0.45 + 2.2 * small, 0.17, y * 0.42, cut=0.05), dark(r), 0, 0.35))
    parts.append(Part(rect(-l * 0.7, l, r.uniform(0.34, 0.46), cut=0.06), c, 0.2, 0.6))
    parts.append(Part(rect(-l * 0.75, 0.02, 0.68, cut=0.06), dark(r), 0.6, 0.85))
    roof = c if r.random() < 0.5 else pale(r)
    if r.random() < 0.8:
        parts.append(Part(rect(-l * 0.72, -0.06, 0.6, cut=0.06), roof, 0.85, 0.95))
    if r.random() < 0.3:
        parts.append(Part(rect(-l - 0.35, -l * 0.9, r.uniform(0.5, 1.0)), machine(r), 0.1, 0.35))
    return parts, l * 1.1


def rider(r, x, parts):
    shirt = paint(r)
    parts.append(Part(disc(x, 0, 0.16, 10, ry=0.27), shirt, 0.6, 0.85))
    for y in (-1, 1):
        parts.append(Part(bar(x, y * 0.2, x + 0.36, y * 0.24, 0.1), shirt, 0.6, 0.7))
    parts.append(Part(disc(x + 0.06, 0, 0.13, 10), paint(r), 0.85, 1.0))


def motorcycle(r):
    c = paint(r)
    l = r.uniform(0.85, 1.0)
    parts = [Part(rect(-l, -l + 0.55, 0.19, cut=0.05), dark(r), 0, 0.32),
             Part(rect(l - 0.5, l, 0.16, cut=0.05), dark(r), 0, 0.32),
             Part(rect(-0.62, 0.5, 0.26, cut=0.08), dim(c, 0.55), 0.2, 0.45),
             Part(disc(0.2, 0, 0.32, 12, ry=0.19), c, 0.45, 0.6),
             Part(rect(-0.68, -0.05, 0.24, cut=0.08), dark(r), 0.45, 0.55),
             Part(bar(0.46, -0.36, 0.46, 0.36, 0.08), dark(r), 0.6, 0.66)]
    if r.random() < 0.3:
        for y in (-1, 1):
            parts.append(Part(rect(-0.8, -0.42, 0.16, y * 0.22), dim(c, 0.8), 0.3, 0.5))
    if r.random() < 0.55:
        rider(r, r.uniform(-0.25, -0.05), parts)
    return parts, l


def bicycle(r):
    c = paint(r)
    l = r.uniform(0.85, 1.0)
    parts = [Part(rect(-l, -l + 0.72, 0.08), dark(r), 0, 0.4),
             Part(rect(l - 0.72, l, 0.08), dark(r), 0, 0.4),
             Part(bar(-0.55, 0, 0.55, 0, 0.09), c, 0.3, 0.45),
             Part(bar(0.45, -0.3, 0.45, 0.3, 0.07), dim(c, 0.7), 0.6, 0.65),
             Part(rect(-0.42, -0.12, 0.15, cut=0.04), dark(r), 0.55, 0.62),
             Part(bar(-0.05, -0.16, -0.05, 0.16, 0.06), dark(r), 0.3, 0.33)]
    if r.random() < 0.3:
        parts.append(Part(rect(-0.85, -0.5, 0.26), paint(r), 0.5, 0.65))
    if r.random() < 0.55:
        rider(r, r.uniform(-0.25, -0.1), parts)
    return parts, l


def hull(l, w, bow):
    return [(-l, -w * 0.42), (-l * 0.2, -w / 2), (bow, -w * 0.4), (l * 0.82, -w * 0.16), (l, 0),
            (l * 0.82, w * 0.16), (bow, w * 0.4), (-l * 0.2, w / 2), (-l, w * 0.42)]


def boat(r):
    c = pale(r) if r.random() < 0.55 else paint(r)
    l, w = r.uniform(1.05, 1.35), r.uniform(0.6, 0.85)
    outline = np.array(hull(l, w, l * r.uniform(0.3, 0.5)))
    deck = hsv(r.uniform(0.06, 0.12), r.uniform(0.2, 0.6), r.uniform(0.5, 0.85)) if r.random() < 0.6 else dim(c, 0.7)
    parts = [Part(outline, c, 0, 0.3), Part(outline * (0.86, 0.74), deck, 0.3, 0.3)]
    u = r.random()
    if u < 0.6:
        x = r.uniform(-0.45, -0.1) * l
        parts.append(Part(rect(x, x + 0.62 * l, w * 0.55, cut=0.08, front=w * 0.4), dark(r), 0.3, 0.55))
        parts.append(Part(rect(x + 0.05, x + 0.45 * l, w * 0.48, cut=0.05), c, 0.55, 0.62))
    else:
        for x in np.linspace(-0.6, 0.4, int(r.integers(2, 5))) * l:
            parts.append(Part(rect(x, x + 0.12, w * 0.7), dim(deck, 0.6), 0.3, 0.34))
    if r.random() < 0.6:
        parts.append(Part(rect(-l - 0.18, -l + 0.04, 0.2), dark(r), 0.2, 0.45))
    return parts, l


def sailboat(r):
    c = pale(r) if r.random() < 0.6 else paint(r)
    l, w = r.uniform(1.05, 1.35), r.uniform(0.48, 0.72)
    outline = np.array(hull(l, w, l * r.uniform(0.2, 0.4)))
    deck = dim(c, r.uniform(0.65, 0.9))
    mast = r.uniform(0.05, 0.3) * l
    parts = [Part(outline, c, 0, 0.25), Part(outline * (0.86, 0.72), deck, 0.25, 0.25),
             Part(rect(-0.75 * l, -0.25 * l, w * 0.4, cut=0.05), dim(deck, 0.5), 0.25, 0.25)]
    cloth = pale(r) if r.random() < 0.7 else paint(r)
    a = r.uniform(0.1, 0.75) * r.choice([-1, 1])
    boom = r.uniform(0.8, 1.1)
    end = np.array([mast - boom * math.cos(a), boom * math.sin(a)])
    if r.random() < 0.25:
        parts.append(Part(bar(mast, 0, mast - boom, 0, 0.14), cloth, 0.55, 0.65))
    else:
        side = np.array([math.sin(a), math.cos(a)]) * 0.26 * np.sign(a)
        mid = np.array([mast, 0]) * 0.45 + end * 0.55
        parts.append(Part([(mast, 0), mid + side, end, mid], cloth, 0.6, 0.62))
        if r.random() < 0.6:
            jib = np.array([l * 0.45, 0.28 * np.sign(a)])
            parts.append(Part([(l * 0.95, 0), jib, (mast + 0.05, 0.22 * np.sign(a))], dim(cloth, 0.93), 0.5, 0.52))
    parts.append(Part(disc(mast, 0, 0.06, 8), pale(r), 0.3, 1.5))
    return parts, l


def plane(r):
    c = pale(r) if r.random() < 0.6 else paint(r)
    l, w = r.uniform(1.1, 1.35), r.uniform(0.22, 0.32)
    sweep, span, chord = r.uniform(0.0, 0.7), r.uniform(1.0, 1.35), r.uniform(0.28, 0.42)
    x = r.uniform(0.1, 0.35)
    wing = paint(r) if r.random() < 0.2 else dim(c, r.uniform(0.85, 1.0))
    parts = []
    for s in (-1, 1):
        parts.append(Part([(x, 0), (x - chord, 0), (x - chord * 0.75 - sweep, s * span), (x - chord * 0.3 - sweep, s * span)], wing, 0.3, 0.34))
        t = -l * 0.78
        parts.append(Part([(t, 0), (t - 0.22, 0), (t - 0.2 - sweep * 0.3, s * 0.48), (t - 0.05 - sweep * 0.3, s * 0.48)], wing, 0.35, 0.38))
    parts.append(Part(np.concatenate([disc(l * 0.78, 0, w * 0.9, 10, ry=w / 2)[:], [(-l, 0.05), (-l, -0.05)]]), c, 0.2, 0.48))
    parts.append(Part(rect(-l, -l + 0.3, 0.05), paint(r), 0.48, 0.8))
    parts.append(Part(rect(l * 0.75, l * 0.88, w * 0.6, cut=0.03), dark(r), 0.48, 0.5))
    if r.random() < 0.5:
        for s in (-1, 1):
            y = s * span * r.uniform(0.35, 0.45)
            e = x - sweep * abs(y) / span
            parts.append(Part(rect(e - 0.2, e + 0.14, 0.14, y, cut=0.03), dim(c, 0.6), 0.2, 0.32))
    else:
        parts.append(Part(bar(l + 0.16, -0.3, l + 0.16, 0.3, 0.05), dark(r), 0.35, 0.36, alpha=150))
    return hulls(parts), l


def helicopter(r):
    c = paint(r) if r.random() < 0.7 else drab(r)
    l, w = r.uniform(0.62, 0.78), r.uniform(0.42, 0.58)
    tail = r.uniform(1.1, 1.4)
    parts = [Part(rect(-tail, 0, 0.12, front=0.24), c, 0.3, 0.45),
             Part(rect(-tail - 0.08, -tail + 0.1, r.uniform(0.35, 0.6)), dim(c, 0.8), 0.35, 0.4),
             Part(disc(0.1, 0, l, 14, ry=w / 2), c, 0.1, 0.55),
             Part(disc(0.1 + l * 0.55, 0, l * 0.36, 10, ry=w * 0.34), dark(r), 0.55, 0.58)]
    if r.random() < 0.5:
        for y in (-1, 1):
            parts.insert(0, Part(rect(-0.4, 0.6, 0.07, y * w * 0.75), dark(r), 0, 0.05))
    reach = r.uniform(0.95, 1.25)
    if r.random() < 0.5:
        parts.append(Part(disc(0.05, 0, reach, 20), (200, 200, 205), 0.9, 0.9, alpha=int(r.integers(20, 60)), shade=False))
    blades, a0 = int(r.integers(2, 6)), r.uniform(0, math.pi)
    g = dark(r) if r.random() < 0.7 else pale(r)
    for k in range(blades):
        a = a0 + 2 * math.pi * k / blades
        parts.append(Part(bar(0.05, 0, 0.05 + reach * math.cos(a), reach * math.sin(a), 0.09), g, 0.92, 0.94, alpha=int(r.integers(140, 256))))
    parts.append(Part(disc(0.05, 0, 0.1, 8), dark(r), 0.9, 0.96))
    return parts, 1.25


CLASSES = {f.__name__: f for f in (bicycle, boat, bus, car, excavator, helicopter, motorcycle,
                                   pickup, plane, sailboat, tank, tractor, truck, van)}
WATER = {"boat": 0.7, "sailboat": 0.75, "plane": 0.12, "helicopter": 0.15}
