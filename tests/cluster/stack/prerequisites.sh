# shellcheck shell=bash
# What must be on the machine before the stack can be built and started. All
# that is missing is named at once, so that nobody installs things one by one.

debian_packages=(curl iproute2 openssl prometheus python3-pip util-linux)

go_is_recent() {
  local version major minor
  version=$(go env GOVERSION 2>/dev/null) || return 1
  version=${version#go}
  major=${version%%.*} minor=${version#*.} minor=${minor%%[!0-9]*}
  ((major > 1 || (major == 1 && minor >= 26)))
}

can_make_namespaces() {
  local probe="canary-probe-$$"
  ip netns add "$probe" 2>/dev/null || return 1
  ip netns delete "$probe"
}

has() { command -v "$1" >/dev/null 2>&1; }

# The stack does without a browser: tests/program/pages.rs opens pages in it, and knows it by these names.
has_browser() {
  [[ -n ${KUBECTL_CANARY_CHROMIUM:-} ]] || has chromium || has chromium-browser || has google-chrome || has google-chrome-stable
}

# missing_prerequisites: one line for each thing that is missing.
missing_prerequisites() {
  [[ $(uname -sm) == Linux\ @(x86_64|aarch64) ]] || echo "Linux on x86_64 or aarch64: Envoy's binary is pinned for these"
  if ((EUID != 0)); then
    echo "root: a network namespace is made and entered"
  elif has ip && ! can_make_namespaces; then
    echo "the right to make network namespaces (CAP_SYS_ADMIN): 'ip netns add' fails"
  fi
  has ip || echo "ip (Debian package iproute2)"
  has openssl || echo "openssl (Debian package openssl)"
  has curl || echo "curl (Debian package curl)"
  has prometheus || echo "prometheus (Debian package prometheus)"
  { has flock && has setsid; } || echo "flock and setsid (Debian package util-linux)"
  python3 -m pip --version >/dev/null 2>&1 || echo "python3 with pip (Debian package python3-pip): Envoy comes as a Python package"
  go_is_recent || echo "Go 1.26 or newer (Debian 12's own is older): builds Kubernetes, etcd, kwok and istiod"
  has cargo || echo "cargo: builds the backends"
}

require_prerequisites() {
  local missing
  missing=$(missing_prerequisites)
  [[ -z $missing ]] && return
  {
    echo "the stack cannot start, this is missing:"
    printf '%s\n' "$missing" | sed 's/^/  /'
    echo "try: $0 prerequisites --install (Debian packages only)"
  } >&2
  exit 1
}

# install_prerequisites: the Debian packages. Prometheus' package would start a
# service of its own on the stack's port outside the namespace; a policy that
# forbids it stands for as long as the installation takes.
install_prerequisites() {
  ((EUID == 0)) || fail "installing packages needs root"
  local packages=("${debian_packages[@]}")
  has_browser || packages+=(chromium)
  has apt-get || fail "there is no apt-get here; install by hand: ${packages[*]}"
  local policy=/usr/sbin/policy-rc.d made=no status=0
  if [[ ! -e $policy ]]; then
    made=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    # shellcheck disable=SC2064 # The path is known now and the local is not then.
    trap "rm -f '$policy'" EXIT
  fi
  DEBIAN_FRONTEND=noninteractive
  export DEBIAN_FRONTEND
  { apt-get update --quiet --quiet \
    && apt-get install --yes --quiet --no-install-recommends "${packages[@]}"; } </dev/null || status=$?
  if [[ $made == yes ]]; then
    rm -f "$policy"
    trap - EXIT
  fi
  ((status == 0)) || fail "apt-get ended with $status"
}
