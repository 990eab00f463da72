#!/bin/bash
# fresh-debian.sh DIR [--run-only] - proves the README's two commands on a Debian 12 that has nothing: debootstrap
# --variant=minbase into DIR, a clone of this repository, `scripts/run` until it serves its own metrics, then
# `scripts/test`. Needs root, debootstrap and git. Ends with one line a step; exit status 0 when both worked.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")/../.." && pwd)
dir=$1
port=19009
mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
    sed -nE 's/^deb +(\[[^]]*\] +)?([^ ]+) .*/\2/p; s/^URIs: *([^ ]+).*/\1/p' | grep -v security | head -n 1)

cleanup() {
    [ -z "${server:-}" ] || kill "$server" 2>/dev/null || true
    for m in proc sys dev/shm dev/pts dev; do umount -l "$dir/$m" 2>/dev/null || true; done
}
trap cleanup EXIT

if [ ! -x "$dir/usr/bin/apt-get" ]; then
    debootstrap --variant=minbase bookworm "$dir" "$mirror" >"$dir.debootstrap.log" 2>&1 ||
        { tail -n 20 "$dir.debootstrap.log" >&2; exit 1; }
fi
echo "fresh-debian: $(chroot "$dir" dpkg-query -W -f '.\n' | wc -l) packages in a minbase bookworm"
cp /etc/resolv.conf "$dir/etc/resolv.conf"
cp /etc/hosts "$dir/etc/hosts"
[ ! -d /etc/apt/apt.conf.d ] || cp -n /etc/apt/apt.conf.d/*proxy* "$dir/etc/apt/apt.conf.d/" 2>/dev/null || true
for m in proc sys dev dev/pts dev/shm; do mountpoint -q "$dir/$m" || mount --rbind "/$m" "$dir/$m"; done
rm -rf "$dir/root/engram"
git clone -q "$here" "$dir/root/engram"
revision=$(git -C "$dir/root/engram" rev-parse --short HEAD)

began=$SECONDS
chroot "$dir" env HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /root/engram/scripts/run --listen 127.0.0.1:$port --data /root/data >"$dir/root/run.log" 2>&1 &
server=$!
ready=no
for _ in $(seq 1 1200); do
    if curl -fsS "http://127.0.0.1:$port/ready" >/dev/null 2>&1; then ready=yes; break; fi
    kill -0 $server 2>/dev/null || break
    sleep 0.5
done
[ $ready = yes ] || { tail -n 40 "$dir/root/run.log" >&2; echo "fresh-debian: scripts/run does not serve" >&2; exit 1; }
echo "fresh-debian: $revision: scripts/run serves after $((SECONDS - began)) s, packages and build included"
sleep 40
curl -fsS "http://127.0.0.1:$port/" | grep -qi engram
n=$(curl -fsS "http://127.0.0.1:$port/api/v1/query?query=count(\{__name__=~%22engram_.*%22\})" |
    sed -nE 's/.*"value":\[[^,]*,"([0-9]+)"\].*/\1/p')
[ "${n:-0}" -gt 20 ] || { echo "fresh-debian: no metrics of its own" >&2; exit 1; }
echo "fresh-debian: $n series of its own metrics within 40 s"
pkill -TERM -f "build/engram serve --listen 127.0.0.1:$port" || true
wait $server || true
server=
[ "${2:-}" != --run-only ] || exit 0

began=$SECONDS
rc=0
chroot "$dir" env HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin /root/engram/scripts/test >"$dir/root/test.log" 2>&1 || rc=$?
tail -n 3 "$dir/root/test.log"
echo "fresh-debian: scripts/test ended with status $rc after $((SECONDS - began)) s (log: $dir/root/test.log)"
exit $rc
