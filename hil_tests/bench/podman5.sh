#!/bin/sh
# Podman's tests with the Podman of Debian 13, on a machine that has another: `make test-podman5`, as root.
#
# All of that Debian is in a folder, made once (1 GB, some minutes): its Podman, crun, netavark and Python. The tests run in it, with
# mounts and a network of their own, so that nothing of this machine's Podman is touched.
set -eu

root=${1:?usage: podman5.sh FOLDER [PYTEST ARGUMENTS]}
shift
here=$(cd "$(dirname "$0")/../.." && pwd)
packages=podman,crun,runc,conmon,netavark,aardvark-dns,catatonit,iptables,nftables,busybox-static,iproute2,python3,python3-venv,ca-certificates,kubernetes-client
[ $# -gt 0 ] || set -- edge_gateway/edged/tests hil_tests/test_pods.py -k podman

if [ ! -e "$root/.made" ]; then
	command -v debootstrap >/dev/null || { echo "debootstrap is not installed" >&2; exit 1; }
	debootstrap --variant=minbase --include=$packages trixie "$root"
	touch "$root/.made"
fi
root=$(cd "$root" && pwd)
mkdir -p "$root/src"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
export root here

inside() {
	unshare --mount --propagation private "$@"
}
# shellcheck disable=SC2016
mounts='
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
for folder in run tmp dev/shm; do mount -t tmpfs tmpfs "$root/$folder"; done
mount --bind "$here" "$root/src"
cd /
set -eu
'
if [ ! -e "$root/opt/venv/.made" ]; then
	inside sh -c "$mounts"'
	chroot "$root" env -C /src -u TMPDIR PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "
		python3 -m venv /opt/venv
		/opt/venv/bin/pip install -q -e .[cloud,cel,edge,cli] pytest pytest-asyncio pytest-timeout hypothesis psutil
		touch /opt/venv/.made"'
fi
# shellcheck disable=SC2016
inside --net sh -c "$mounts"'
ip link set lo up
chroot "$root" podman --version
exec chroot "$root" env -C /src -u TMPDIR PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PYTHONPATH=/src \
	/opt/venv/bin/python -B -m pytest -p no:cacheprovider "$@"' sh "$@"
