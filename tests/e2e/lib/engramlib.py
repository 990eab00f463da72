"""What the end-to-end tests share: TAP lines, an engram server under test, pushes and queries. Standard
library only. ENGRAM names the binary, ENGRAM_BUILD the build folder, ENGRAM_PEERS the folder of peers."""
import http.client
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("ENGRAM_BUILD", ROOT / "build"))
BINARY = pathlib.Path(os.environ.get("ENGRAM", BUILD / "engram"))
PEERS = pathlib.Path(os.environ.get("ENGRAM_PEERS", BUILD / "peers"))


class Tap:
    """Test cases as TAP lines; done() gives the exit status."""

    def __init__(self):
        self.n = self.failed = 0

    def ok(self, good, name, why=""):
        self.n += 1
        if not good:
            self.failed += 1
            for line in str(why)[-4000:].splitlines():
                print("# " + line)
        print(f"{'ok' if good else 'not ok'} {self.n} - {name}", flush=True)
        return bool(good)

    def equal(self, got, want, name):
        return self.ok(got == want, name, f"got  {got!r}\nwant {want!r}")

    def skip(self, name, why):
        self.n += 1
        print(f"ok {self.n} - {name} # SKIP {why}", flush=True)

    def note(self, text):
        print("# " + text, flush=True)

    def done(self):
        print(f"1..{self.n}", flush=True)
        return 1 if self.failed else 0


def skip_all(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(77)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, seconds=30, every=0.05):
    """Calls what() until it is true; its last value."""
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got or time.monotonic() > end:
            return got
        time.sleep(every)


def peer(name):
    """The path of a current peer's program, or None."""
    p = PEERS / "usr/bin" / name
    return p if p.exists() else None


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.body)


def request(url, method="GET", body=None, headers=None, timeout=60):
    """One HTTP exchange; an error status is a Reply as well."""
    r = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(r, timeout=timeout) as a:
            return Reply(a.status, a.headers, a.read())
    except urllib.error.HTTPError as e:
        with e:
            return Reply(e.code, e.headers, e.read())


def read_metrics(url):
    """A server's /metrics: name and labels as they stand, to value."""
    out = {}
    for line in request(url + "/metrics").text.splitlines():
        if line and line[0] != "#":
            name, _, value = line.rpartition(" ")
            out[name] = float(value)
    return out


# --- remote write 1.0, as small as it can be ---


def uvarint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    return uvarint(number << 3 | 2) + uvarint(len(payload)) + payload


def write_request(series):
    """series: [(labels as dict or list of pairs, [(t_ms, value)])]."""
    out = b""
    for labels, samples in series:
        pairs = sorted(labels.items()) if isinstance(labels, dict) else labels
        ts = b""
        for k, v in pairs:
            k, v = (x if isinstance(x, bytes) else x.encode() for x in (k, v))
            ts += field(1, field(1, k) + field(2, v))
        for t_ms, v in samples:
            ts += field(2, b"\x09" + struct.pack("<d", v) + b"\x10" + uvarint(t_ms & (1 << 64) - 1))
        out += field(1, ts)
    return out


def snappy(data):
    """Snappy's block format, literals only."""
    out = bytearray(uvarint(len(data)))
    for at in range(0, len(data), 65536):
        part = data[at:at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return bytes(out)


PUSH_HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
                "X-Prometheus-Remote-Write-Version": "0.1.0"}


def storage_arguments():
    """Where blocks go when a test is run with ENGRAM_E2E_S3 (endpoint bucket access secret)."""
    s3 = os.environ.get("ENGRAM_E2E_S3")
    if not s3:
        return []
    keys = ("endpoint", "bucket", "access_key", "secret_key")
    return ["--set", "bucket.type=s3"] + [a for k, v in zip(keys, s3.split()) for a in ("--set", f"bucket.s3.{k}={v}")]


class Engram:
    """A server in a folder of its own. args are passed on; data survives restart() and kill9()."""

    def __init__(self, *args, data=None, env=None, port=None, start=True, preload=None):
        self.tmp = None
        if data is None:
            self.tmp = tempfile.TemporaryDirectory(prefix="engram-e2e-")
            data = self.tmp.name + "/data"
        self.data = pathlib.Path(data)
        self.args = [str(a) for a in args] + storage_arguments()
        self.env = dict(os.environ, **(env or {}))
        self.port = port or free_port()
        self.log_path = self.data.parent / f"{self.data.name}.log"
        self.preload = preload
        self.process = None
        if start:
            self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self):
        return self.url + "/api/v1/"

    @property
    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self, ready=True, seconds=60):
        self.data.parent.mkdir(parents=True, exist_ok=True)
        env = dict(self.env, **({"LD_PRELOAD": str(self.preload)} if self.preload else {}))
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}"] + self.args,
                stdout=log, stderr=log, env=env)
        if ready and not self.wait_ready(seconds):
            raise RuntimeError("engram did not become ready:\n" + self.log[-3000:])
        return self

    def wait_ready(self, seconds=60):
        def ready():
            if self.process.poll() is not None:
                return False
            try:
                return request(self.url + "/ready", timeout=5).status == 200
            except OSError:
                return False
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if ready():
                return True
            time.sleep(0.01)
        return False

    def stop(self, seconds=60):
        """SIGTERM; the exit status."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            rc = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            rc = -9
        self.process = None
        return rc

    def kill9(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self):
        self.stop()
        return self.start()

    def status_bytes(self, key):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        f = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")

    # --- requests ---

    def push_raw(self, body, headers=None, path="/api/v1/push", tenant=None, timeout=60):
        h = dict(PUSH_HEADERS, **(headers or {}))
        if tenant:
            h["X-Scope-OrgID"] = tenant
        return request(self.url + path, "POST", body, {k: v for k, v in h.items() if v is not None}, timeout)

    def push(self, series, tenant=None, **more):
        return self.push_raw(snappy(write_request(series)), tenant=tenant, **more)

    def get(self, path, params=(), tenant=None, method="GET", headers=None, timeout=120):
        h = dict(headers or {})
        if tenant:
            h["X-Scope-OrgID"] = tenant
        q = urllib.parse.urlencode(params, doseq=True)
        if method == "POST":
            h["Content-Type"] = "application/x-www-form-urlencoded"
            return request(self.url + path, "POST", q.encode(), h, timeout)
        return request(self.url + path + ("?" + q if q else ""), method, None, h, timeout)

    def query(self, expr, at=None, tenant=None, **more):
        p = {"query": expr}
        if at is not None:
            p["time"] = at
        return self.get("/api/v1/query", p, tenant, **more)

    def query_range(self, expr, start, end, step, tenant=None, **more):
        return self.get("/api/v1/query_range", {"query": expr, "start": start, "end": end, "step": step},
                        tenant, **more)

    def flush(self, tenant=None, timeout=300):
        return self.get("/api/v1/admin/flush", {"wait": "true"}, tenant, "POST", timeout=timeout)

    def metrics(self):
        return read_metrics(self.url)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process and self.process.poll() is None:
            self.kill9()
        if self.tmp:
            self.tmp.cleanup()


def rows(reply):
    """An answer's result in an order that can be compared."""
    data = reply.json["data"]
    result = data["result"]
    if data["resultType"] in ("vector", "matrix"):
        result = sorted(result, key=lambda r: json.dumps(r["metric"], sort_keys=True))
    return data["resultType"], result


class Keepalive:
    """One connection that many requests share."""

    def __init__(self, server):
        self.c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def post(self, path, body, headers):
        self.c.request("POST", path, body, headers)
        a = self.c.getresponse()
        return Reply(a.status, a.headers, a.read())
