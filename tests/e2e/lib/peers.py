"""The real programs beside engram: Prometheus servers, node exporters, memcached."""
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import urllib.parse

from engramlib import free_port, read_metrics, request, wait_for


class Program:
    """A program in a folder of its own; stopped at the end."""

    def __init__(self, name):
        self.name = name
        self.tmp = tempfile.TemporaryDirectory(prefix=f"engram-{name}-")
        self.dir = pathlib.Path(self.tmp.name)
        self.port = free_port()
        self.process = None

    def run(self, args, env=None):
        self.args = [str(a) for a in args]
        log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(self.args, stdout=log, stderr=log, cwd=self.dir,
                                        env=dict(os.environ, **(env or {})))
        log.close()
        return self

    @property
    def log(self):
        return (self.dir / "log").read_text(errors="replace")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def answers(self, path):
        try:
            return request(self.url + path, timeout=5).status == 200
        except OSError:
            return False

    def signal(self, what):
        self.process.send_signal(what)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stop()
        self.tmp.cleanup()


class NodeExporter(Program):
    def __init__(self):
        super().__init__("node-exporter")
        self.run(["/usr/bin/prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{self.port}"])
        if not wait_for(lambda: self.answers("/metrics"), 20):
            raise RuntimeError("node exporter did not start: " + self.log)


class Prometheus(Program):
    """program: which Prometheus. config: text of its prometheus.yml. storage: a folder of blocks to serve."""

    def __init__(self, program, config="", storage=None, flags=()):
        super().__init__("prometheus")
        (self.dir / "prometheus.yml").write_text(config)
        self.storage = pathlib.Path(storage or self.dir / "data")
        self.run([program, f"--config.file={self.dir}/prometheus.yml", f"--web.listen-address=127.0.0.1:{self.port}",
                  f"--storage.tsdb.path={self.storage}", "--storage.tsdb.retention.time=100y", "--log.level=warn",
                  *flags])
        if not wait_for(lambda: self.answers("/-/ready"), 60):
            raise RuntimeError("Prometheus did not start: " + self.log[-3000:])

    def get(self, path, params=()):
        q = urllib.parse.urlencode(params, doseq=True)
        return request(self.url + path + ("?" + q if q else ""), timeout=120)

    def query(self, expr, at=None):
        return self.get("/api/v1/query", {"query": expr, **({} if at is None else {"time": at})})

    def query_range(self, expr, start, end, step):
        return self.get("/api/v1/query_range", {"query": expr, "start": start, "end": end, "step": step})

    def metrics(self):
        return read_metrics(self.url)


class Memcached(Program):
    def __init__(self, port=None):
        super().__init__("memcached")
        self.port = port or self.port
        self.run(["/usr/bin/memcached", "-l", "127.0.0.1", "-p", self.port, "-U", "0", "-m", "64", "-u", "nobody"])
        wait_for(self.up, 10)

    def up(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False
