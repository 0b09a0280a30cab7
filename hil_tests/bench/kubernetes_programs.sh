#!/usr/bin/env bash
# Builds kube-apiserver, kube-controller-manager and kube-scheduler from Debian's source package into a folder, and installs what
# that needs: `make test-cluster` does it once. Debian ships kubectl only; newer releases' source packages than bookworm's have
# nothing but kubectl's source left. About six minutes on two cores (eight of processor time), 3 GB of disk meanwhile.
#
#   hil_tests/bench/kubernetes_programs.sh .hedgerow/cache/kubernetes
set -euo pipefail
into=$(realpath -m "$1")
suite=bookworm
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo

complete() { for name in kube-apiserver kube-controller-manager kube-scheduler; do [ -x "$into/$name" ] || return 1; done; }

$sudo apt-get update -q
$sudo apt-get install -q -y --no-install-recommends etcd-server
if complete; then exit 0; fi
$sudo apt-get install -q -y --no-install-recommends golang-go golang-github-modern-go-reflect2-dev rsync jq make dpkg-dev

# The machine's own mirror, in a set of apt's files beside its own: nothing of the machine's changes.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v -e security -e updates | head -n 1)
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/bin"
echo "deb-src $mirror $suite main" >"$work/sources.list"
apt="-o Dir::Etc::sourcelist=$work/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$work/lists -o Dir::Cache=$work/cache"
cd "$work"
apt-get $apt update -q
apt-get $apt source -q kubernetes
cd kubernetes-*/

# Of the vendored libraries one reads maps as Go did before 1.18: kube-apiserver would crash at a Device. Debian's own is newer.
reflect2=vendor/github.com/modern-go/reflect2
rm $reflect2/*.go $reflect2/*.s
cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.go /usr/share/gocode/src/github.com/modern-go/reflect2/*.s $reflect2/
# Another takes an empty string for null, since Go compares zeroes otherwise than in 2020.
sed -i 's/data == nil || reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data))/data == nil/' \
	vendor/github.com/go-openapi/validate/type.go vendor/k8s.io/kube-openapi/pkg/validation/validate/type.go

# As debian/rules does it; of the version's words only the number is needed, which the API tells its clients.
version=v$(sed -n '1s/.*really\([0-9.]*\).*/\1/p' debian/changelog)
IFS=. read -r major minor _ <<<"${version#v}"
mkdir -p .go/src/k8s.io
ln -s ../../.. .go/src/k8s.io/kubernetes
export HOME=$work/home GOPATH=$PWD/.go GOCACHE=$work/go GOPROXY=off CGO_ENABLED=0 PATH=/usr/lib/go/bin:$PATH
export KUBE_GIT_VERSION=$version KUBE_GIT_MAJOR=$major KUBE_GIT_MINOR=$minor KUBE_GIT_COMMIT=debian KUBE_GIT_TREE_STATE=archive
nice -n 10 make WHAT="cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler"
mkdir -p "$into"
cp _output/bin/kube-apiserver _output/bin/kube-controller-manager _output/bin/kube-scheduler "$into/"
