#!/usr/bin/env python3
"""embed.py OUT.c FILE... - the page's files as C arrays, each with a tag made of its bytes."""
import hashlib
import os
import sys

out, files = sys.argv[1], sys.argv[2:]
with open(out, "w", encoding="ascii") as f:
    f.write('/* Made by embed.py from src/ui/assets/. */\n#include "ui_int.h"\n\n')
    rows = []
    for n, path in enumerate(files):
        data = open(path, "rb").read()
        f.write(f"static const unsigned char bytes_{n}[] = {{\n")
        for at in range(0, len(data), 20):
            f.write(",".join(str(b) for b in data[at:at + 20]) + ",\n")
        f.write("};\n")
        rows.append(f'    {{"{os.path.basename(path)}", bytes_{n}, {len(data)}, '
                    f'"{hashlib.sha256(data).hexdigest()[:16]}"}},\n')
    f.write("const struct ui_asset ui_assets[] = {\n" + "".join(rows) + "};\n")
    f.write(f"const size_t ui_assets_n = {len(rows)};\n")
