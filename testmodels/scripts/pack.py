#!/usr/bin/env python3
"""Packs folders of the zoo: pack.py current turns zoo/current/ into zoo/current.zip. Equal files give equal bytes."""

import os
import shutil
import sys
import zipfile

ZOO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "zoo")

for name in sys.argv[1:]:
    folder = os.path.join(ZOO, name)
    with zipfile.ZipFile(folder + ".zip", "w", zipfile.ZIP_DEFLATED) as z:
        for file in sorted(os.listdir(folder)):
            with open(os.path.join(folder, file), "rb") as f:
                z.writestr(zipfile.ZipInfo(file), f.read(), zipfile.ZIP_DEFLATED, compresslevel=9)
    shutil.rmtree(folder)
