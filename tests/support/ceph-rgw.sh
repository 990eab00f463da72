#!/bin/bash
# ceph-rgw.sh - a throw-away Ceph cluster of one monitor, one object store and one S3 gateway on
# loopback, from Debian's packages (scripts/setup --ceph), without systemd.
#
#   ceph-rgw.sh start DIR PORT   begin or go on with the cluster kept in DIR; prints, for eval,
#                                S3_ENDPOINT= S3_ACCESS_KEY= S3_SECRET_KEY=
#   ceph-rgw.sh kill DIR NAME    SIGKILL of mon, osd or rgw
#   ceph-rgw.sh pause|resume DIR NAME    SIGSTOP, SIGCONT
#   ceph-rgw.sh rgw DIR          start a killed gateway again
#   ceph-rgw.sh stop DIR         stop everything; DIR stays
#   ceph-rgw.sh destroy DIR      stop everything and remove DIR
#
# CEPH_NAGLE=1 leaves the gateway as it comes, with Nagle's algorithm on.
# CEPH_STORE=memstore keeps objects in memory: quicker, gone at stop. Default: bluestore in a file.
set -euo pipefail

die() { echo "ceph-rgw.sh: $*" >&2; exit 1; }
[ $# -ge 2 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2; }
verb=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)
shift 2
conf=$dir/ceph.conf
export CEPH_CONF=$conf
unset CEPH_ARGS CEPH_KEYRING || true
[ ${#dir} -le 70 ] || die "$dir: too long for the sockets of Ceph (70 characters)"

pid_of() { # NAME: its pid, when it is still our process
    local p
    p=$(cat "$dir/$1.pid" 2>/dev/null) || return 1
    tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline" | grep -qF -- "$conf" && echo "$p"
}

# In a session of its own, with none of the caller's descriptors: neither its locks nor its pipes
# may hang on a daemon.
daemon() { # NAME COMMAND...
    local name=$1
    shift
    pid_of "$name" >/dev/null && return
    (
        for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            [ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
        done
        exec setsid "$@"
    ) </dev/null >>"$dir/$name.out" 2>&1 &
    echo $! >"$dir/$name.pid"
}

halt() { # NAME SIGNAL: ends it, after 20 s the hard way
    local p i
    p=$(pid_of "$1") || { rm -f "$dir/$1.pid"; return 0; }
    kill "-$2" "$p" 2>/dev/null || true
    for ((i = 0; i < 250; i++)); do
        pid_of "$1" >/dev/null || { rm -f "$dir/$1.pid"; return 0; }
        [ $i != 200 ] || kill -KILL "$p" 2>/dev/null || true
        sleep 0.1
    done
    die "$1 does not end"
}

await() { # NAME COMMAND...: until COMMAND succeeds, while NAME lives
    local name=$1 until=$((SECONDS + 120))
    shift
    until "$@" >/dev/null 2>&1; do
        pid_of "$name" >/dev/null || { tail -n 15 "$dir/$name.out" "$dir/$name.log" >&2 || true; die "$name died"; }
        [ $SECONDS -lt $until ] || die "$name: not ready after 120 s, see $dir"
        sleep 0.2
    done
}

mon_ready() { timeout 20 ceph -c "$conf" --connect-timeout 5 quorum_status; }
osd_ready() { timeout 20 ceph -c "$conf" --connect-timeout 5 osd stat | grep -q '1 up.*1 in'; }
rgw_ready() { curl -s -o /dev/null --max-time 5 "$(cat "$dir/endpoint")/"; }

write_conf() { # PORT MONPORT
    local nodelay=" tcp_nodelay=1"
    [ "${CEPH_NAGLE:-0}" = 0 ] || nodelay=
    cat >"$conf" <<END
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v2:127.0.0.1:$2/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
# The gateway alone would ask the monitor for an encrypted link, which needs keys: it would wait for
# ever.
ms mon client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
run dir = $dir
admin socket = $dir/\$name.asok
log file = $dir/\$type.log
crash dir = $dir
keyring = $dir/keyring
mon data = $dir/mon
osd data = $dir/osd
rgw data = $dir/rgw
# One copy on one store, and no waiting for company.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 2
osd pool default pgp num = 2
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush update on start = true
osd class update on start = false
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
mon data avail warn = 1
mon osd full ratio = .97
mon osd backfillfull ratio = .96
mon osd nearfull ratio = .95
mon election timeout = 1
paxos propose interval = 0.1
paxos min wait = 0.01
osd objectstore = ${CEPH_STORE:-bluestore}
osd memory target = 939524096
osd numa auto affinity = false
bluestore block size = 10737418240
bluestore block db create = false
bluestore block wal create = false
bluestore cache autotune = false
bluestore cache size = 67108864
memstore device bytes = 4294967296
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$1$nodelay
rgw thread pool size = 32
rgw override bucket index max shards = 1
rgw dynamic resharding = false
rgw run sync thread = false
rgw enable usage log = false
rgw enable ops log = false
END
}

free_port() {
    local p
    for ((;;)); do
        p=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo $p; return; }
    done
}

make_cluster() { # PORT
    local monport
    monport=$(free_port)
    write_conf "$1" "$monport"
    mkdir -p "$dir/mon" "$dir/osd" "$dir/rgw"
    monmaptool --create --clobber --fsid "$(sed -n 's/^fsid = //p' "$conf")" \
        --addv a "[v2:127.0.0.1:$monport/0]" --set-min-mon-release pacific "$dir/monmap"
    ceph-mon -c "$conf" --mkfs -i a --monmap "$dir/monmap"
}

make_osd() {
    local uuid id
    uuid=$(cat /proc/sys/kernel/random/uuid)
    id=$(timeout 60 ceph -c "$conf" osd new "$uuid")
    [ "$id" = 0 ] || die "the first object store is number $id"
    ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$uuid"
}

make_user() {
    local access secret
    access=$(od -An -N10 -tx1 /dev/urandom | tr -d ' \n' | tr a-f A-F)
    secret=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
    timeout 120 radosgw-admin -c "$conf" --name client.rgw user create --uid=engram \
        --display-name=engram --access-key="$access" --secret="$secret" --max-buckets=0
    printf '%s\n%s\n' "$access" "$secret" >"$dir/keys"
}

start() { # PORT
    local p
    for p in ceph-mon ceph-osd radosgw radosgw-admin monmaptool ceph curl; do
        command -v $p >/dev/null || die "$p is missing: scripts/setup --ceph"
    done
    # A cluster that was not made to its end, or whose memory is gone, is made anew.
    if [ ! -f "$dir/keys" ] || { grep -q 'objectstore = memstore' "$conf" && ! pid_of osd >/dev/null; }; then
        for p in rgw osd mon; do halt $p KILL; done
        find "$dir" -mindepth 1 -delete
        make_cluster "$1" >"$dir/make.log" 2>&1 || { cat "$dir/make.log" >&2; die "no cluster"; }
    fi
    sed -i -E "s/(endpoint=127\.0\.0\.1:)[0-9]+/\1$1/" "$conf"
    echo "http://127.0.0.1:$1" >"$dir/endpoint"
    daemon mon ceph-mon -f -c "$conf" -i a
    await mon mon_ready
    [ -f "$dir/keys" ] || make_osd >>"$dir/make.log" 2>&1 || { cat "$dir/make.log" >&2; die "no object store"; }
    daemon osd ceph-osd -f -c "$conf" -i 0
    await osd osd_ready
    daemon rgw radosgw -f -c "$conf" --name client.rgw
    await rgw rgw_ready
    [ -f "$dir/keys" ] || make_user >>"$dir/make.log" 2>&1 || { cat "$dir/make.log" >&2; die "no user"; }
    echo "S3_ENDPOINT=$(cat "$dir/endpoint")"
    echo "S3_ACCESS_KEY=$(sed -n 1p "$dir/keys")"
    echo "S3_SECRET_KEY=$(sed -n 2p "$dir/keys")"
}

case $verb in
start) [ $# = 1 ] || die "start DIR PORT"; start "$1" ;;
kill) halt "$1" KILL ;;
pause) kill -STOP "$(pid_of "$1")" ;;
resume) kill -CONT "$(pid_of "$1")" ;;
rgw)
    daemon rgw radosgw -f -c "$conf" --name client.rgw
    await rgw rgw_ready
    ;;
stop | destroy)
    for p in rgw osd mon; do halt $p TERM; done
    [ $verb = stop ] || { [ ! -f "$conf" ] || rm -rf "$dir"; }
    ;;
*) die "unknown verb $verb" ;;
esac
