"""A bucket as the tests look into it, past engram: a folder, or S3 with a signer of the test's own."""
import datetime
import hashlib
import hmac
import os
import pathlib
import re
import shlex
import urllib.parse
from xml.sax.saxutils import unescape

from engramlib import request


class FolderBucket:
    def __init__(self, path):
        self.path = pathlib.Path(path)

    def keys(self, prefix=""):
        return sorted(str(p.relative_to(self.path)) for p in self.path.rglob("*") if p.is_file()
                      and str(p.relative_to(self.path)).startswith(prefix))

    def get(self, key):
        return (self.path / key).read_bytes()

    def put(self, key, body):
        target = self.path / key
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".putting")
        temporary.write_bytes(body)
        temporary.rename(target)


class S3Bucket:
    def __init__(self, endpoint, bucket, access, secret, region="us-east-1"):
        self.endpoint, self.bucket, self.access, self.secret, self.region = endpoint, bucket, access, secret, region

    def call(self, method, key="", query=None, body=b"", timeout=60):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        host = self.endpoint.split("//")[1]
        path = "/" + self.bucket + ("/" + urllib.parse.quote(key, safe="/-_.~") if key else "")
        q = "&".join(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}"
                     for k, v in sorted((query or {}).items()))
        digest = hashlib.sha256(body).hexdigest()
        signed = "host;x-amz-content-sha256;x-amz-date"
        canonical = "\n".join([method, path, q, f"host:{host}", f"x-amz-content-sha256:{digest}", f"x-amz-date:{now}", "",
                               signed, digest])
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        k = ("AWS4" + self.secret).encode()
        for part in (now[:8], self.region, "s3", "aws4_request"):
            k = hmac.new(k, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(k, text.encode(), hashlib.sha256).hexdigest()
        headers = {"x-amz-date": now, "x-amz-content-sha256": digest,
                   "Authorization": f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={signed}, "
                                    f"Signature={signature}"}
        return request(self.endpoint + path + ("?" + q if q else ""), method, body if method == "PUT" else None, headers,
                       timeout)

    def create(self):
        return self.call("PUT").status

    def keys(self, prefix=""):
        out, token = [], None
        while True:
            q = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
            text = self.call("GET", query=q).text
            out += [unescape(k) for k in re.findall(r"<Key>([^<]*)</Key>", text)]
            token = next(iter(re.findall(r"<NextContinuationToken>([^<]*)</NextContinuationToken>", text)), None)
            if not token:
                return sorted(out)

    def get(self, key):
        r = self.call("GET", key)
        assert r.status == 200, f"{key}: {r.status} {r.text[:300]}"
        return r.body

    def put(self, key, body):
        r = self.call("PUT", key, body=body)
        assert r.status == 200, f"{key}: {r.status} {r.text[:300]}"


def of(engram):
    """The bucket that a server under test uses: what ENGRAM_E2E_S3 names (endpoint bucket access secret), or its
    folder."""
    s3 = os.environ.get("ENGRAM_E2E_S3")
    return S3Bucket(*shlex.split(s3)) if s3 else FolderBucket(engram.data / "bucket")


def download(bucket, prefix, folder):
    """Every block under the prefix that has a meta.json, into a folder."""
    keys = bucket.keys(prefix)
    whole = {k.rsplit("/", 1)[0] for k in keys if k.endswith("/meta.json")}
    for k in keys:
        if any(k.startswith(b + "/") for b in whole):
            target = pathlib.Path(folder) / k[len(prefix):].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(bucket.get(k))
    return sorted(pathlib.PurePath(b).name for b in whole)
