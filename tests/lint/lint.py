#!/usr/bin/env python3
"""The borders of the house, checked from text: layers, adapters, sizes, banned names and calls, public
headers that compile alone. Each check is first shown a planted violation and must find it; a check that
has looked at nothing fails."""
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LINES_MAX, TEST_LINES_MAX, FUNCTION_MAX = 1000, 1500, 80
BANNED_FILES = {"utils", "util", "common", "misc", "helpers", "helper", "manager", "types"}
BANNED_CALLS = ("malloc calloc realloc free strcpy strcat sprintf vsprintf strtok atoi atol atof strtol strtoul strtoll "
                "strtoull strtod sscanf gets alloca strdup strndup").split()
CALLS_ALLOWED = {"src/base/heap.c": BANNED_CALLS, "src/base/shim.cc": ["strtod"]}


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def rows(path):
    for line in read(path).splitlines():
        line = line.split("#")[0].split()
        if line:
            yield line


def sources(ext=(".c", ".h", ".cc")):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, capture_output=True, text=True, check=True)
    return [f for f in out.stdout.splitlines() if f.endswith(ext) and os.path.exists(os.path.join(TOP, f))]


def code_of(text):
    """The text without comments, strings and character constants, lines kept."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def room_of(path, layers):
    best = None
    for folder in layers:
        if (path == folder or path.startswith(folder + "/")) and (best is None or len(folder) > len(best)):
            best = folder
    return best


def load_layers():
    layers = {}
    for folder, include, *may in rows("tests/lint/layers.txt"):
        layers[folder] = (include, set(may))
    return layers


def check_layers(files):
    layers, found = load_layers(), []
    rooms = {inc for inc, _ in layers.values()}
    by_include = {inc: may for inc, may in layers.values()}
    for path, text in files.items():
        if path.startswith("include/"):
            own = path.split("/")[1]
            may = by_include.get(own, set())
        else:
            folder = room_of(path, layers)
            if folder is None:
                continue
            own, may = layers[folder]
        for m in re.finditer(r'^\s*#\s*include\s+"([^"]+)"', text, re.M):
            other = m.group(1).split("/")[0]
            if "/" not in m.group(1) or other not in rooms or other in (own, "base") or "*" in may or other in may:
                continue
            if path.endswith("_test.c") and other == "model":
                continue
            found.append(f"{path}: room {own} may not include {m.group(1)}")
    return found


def check_adapters(files):
    found, table = [], list(rows("tests/lint/adapters.txt"))
    for path, text in files.items():
        for m in re.finditer(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', text, re.M):
            for header, place in table:
                name = m.group(1)
                hit = name.startswith(header) if header.endswith("/") else name == header or \
                    (header.startswith(".") and name.endswith(header))
                if hit and not path.startswith(place) and not path.startswith("tests/"):
                    found.append(f"{path}: {name} belongs to {place}")
    return found


def check_sizes(files):
    found = []
    for path, text in files.items():
        limit = TEST_LINES_MAX if "test" in path else LINES_MAX
        n = text.count("\n")
        if n > limit:
            found.append(f"{path}: {n} lines, more than {limit}")
        if path.endswith("_test.c") or path.startswith("tests/") or not path.endswith(".c"):
            continue
        start = None
        for at, line in enumerate(code_of(text).splitlines(), 1):
            if line.startswith("{"):
                start = at
            elif line.startswith("}") and start:
                if at - start > FUNCTION_MAX:
                    found.append(f"{path}:{start}: a function of {at - start} lines, more than {FUNCTION_MAX}")
                start = None
    return found


def check_banned(files):
    found = []
    call = re.compile(r"(?<![\w.>])(" + "|".join(BANNED_CALLS) + r")\s*\(")
    for path, text in files.items():
        name = os.path.splitext(os.path.basename(path))[0]
        if name in BANNED_FILES or any(name.endswith("_" + b) for b in BANNED_FILES):
            found.append(f"{path}: a file named {name} has no noun")
        if path.startswith("tests/") or path.endswith("_test.c"):
            continue
        for at, line in enumerate(code_of(text).splitlines(), 1):
            for m in call.finditer(line):
                if m.group(1) not in CALLS_ALLOWED.get(path, []):
                    found.append(f"{path}:{at}: {m.group(1)}() has a house replacement")
    return found


def check_prefixes(files):
    """The first word of a file name is its module; what a .c exports begins with it."""
    found = []
    define = re.compile(r"^(?!static|typedef|extern|struct \w+ \{|enum \w+ \{|#|\})[a-z][\w\s\*]*?[\s\*]([a-z]\w*)\([^;{]*\)\s*$", re.M)
    for path, text in files.items():
        if not path.endswith(".c") or path.startswith("tests/") or path.endswith("_test.c") or path == "src/main.c":
            continue
        if path.startswith("src/base/"):
            continue
        module = os.path.basename(path).split("_")[0].split(".")[0]
        flat = re.sub(r"\(([^()]*)\n([^()]*)\)", lambda m: m.group(0).replace("\n", " "), code_of(text))
        flat = re.sub(r",\s*\n\s*", ", ", flat)
        for m in re.finditer(r"^([a-z][\w \*]*[ \*])([a-z]\w*)\(([^;{}]*)\)\n\{", flat, re.M):
            if m.group(1).startswith("static") or "static " in m.group(1):
                continue
            name = m.group(2)
            room = path.split("/")[-2]
            allowed = {module, room, "expr", "binop", "agg", "limits"}
            if room in ("model",):
                allowed |= {"label", "metric", "batch", "verdict", "labels", "query"}
            if not any(name == a or name.startswith(a + "_") or name.startswith(a) for a in allowed):
                if name == "main" and path.endswith("_main.c"):
                    continue
                found.append(f"{path}: exports {name}, which does not begin with {module}_")
    return found


def check_headers(files):
    found = []
    heads = [f for f in files if f.startswith("include/") and f.endswith(".h")]
    with tempfile.TemporaryDirectory() as tmp:
        for h in heads:
            src = os.path.join(tmp, "one.c")
            with open(src, "w", encoding="utf-8") as f:
                f.write(f'#include "{os.path.relpath(h, "include")}"\n')
            r = subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Werror", "-fsyntax-only", "-I",
                                os.path.join(TOP, "include"), src], capture_output=True, text=True, check=False)
            if r.returncode:
                found.append(f"{h} does not compile alone: {r.stderr.splitlines()[0] if r.stderr else '?'}")
            if "\n/* " not in "\n" + files[h][:400] and "/*" not in files[h][:60]:
                found.append(f"{h}: no comment at its head says what it is for")
    return found


PLANTED = {
    "layers": {"src/promql/promql_x.c": '#include "tsdb/head.h"\n'},
    "adapters": {"src/api/api_x.c": "#include <curl/curl.h>\n"},
    "sizes": {"src/api/api_y.c": "void f(void)\n{\n" + "    x();\n" * 100 + "}\n"},
    "banned": {"src/model/labels_x.c": "void f(void)\n{\n    char *p = malloc(3);\n}\n"},
    "prefixes": {"tsdb/head_x.c": "void frobnicate(int a)\n{\n}\n"},
}


def main():
    files = {f: read(f) for f in sources()}
    checks = [("layers", check_layers), ("adapters", check_adapters), ("sizes", check_sizes), ("banned", check_banned),
              ("prefixes", check_prefixes), ("headers", check_headers)]
    n, failed = 0, 0

    def case(ok, name, notes=()):
        nonlocal n, failed
        n += 1
        failed += not ok
        print(f"{'ok' if ok else 'not ok'} {n} - {name}")
        for note in notes:
            print(f"# {note}")

    case(len(files) > 50, f"looked at {len(files)} files")
    for name, check in checks:
        if name in PLANTED:
            case(len(check(PLANTED[name])) > 0, f"{name}: a planted violation is found")
        found = check(files)
        case(not found, f"{name}: none in the tree", found[:40])
    print(f"1..{n}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
