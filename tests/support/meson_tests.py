"""Lists the tests of a build folder in one suite: name, time limit in seconds, shell command."""
import json
import os
import shlex
import subprocess
import sys

build, suite = sys.argv[1:3]
out = subprocess.run(["meson", "introspect", "--tests", build], capture_output=True, check=True)
for t in json.loads(out.stdout):
    if any(s.split(":")[-1] == suite for s in t["suite"]):
        env = " ".join(f"{k}={shlex.quote(v)}" for k, v in t["env"].items())
        cmd = f"cd {shlex.quote(t['workdir'] or os.path.abspath(build))} && {env} exec {shlex.join(t['cmd'])}"
        print(t["name"], t["timeout"], cmd.replace("&&  exec", "&& exec"), sep="\t")
