# shellcheck shell=bash
# From nothing to a stack that answers, and back to nothing.

say() { echo "$(date +%T) $*"; }

# The backends are an example target of the crate itself, so that they need no
# lock file and no dependencies of their own. The stack runs a copy: the next
# build may replace the original at any time.
build_backend() {
  local target
  # Nothing that cargo might leave running may hold this script's lock.
  cargo build --quiet --manifest-path "$tree/Cargo.toml" --example stack-backend 9>&-
  target=$(cargo metadata --manifest-path "$tree/Cargo.toml" --no-deps --format-version 1 \
    | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
  cp "$target/debug/examples/stack-backend" "$state/stack-backend"
}

make_namespace() {
  ip netns add "$netns"
  ip -n "$netns" link set lo up
  ip -n "$netns" address add "${pod_prefix/.0.0\//.0.1/}" dev lo
}

# apply FILE…: through the API server, with its answer shown only when it refuses.
apply() {
  local answer file files=()
  for file in "$@"; do files+=(-f "$file"); done
  answer=$(kubectl apply --server-side "${files[@]}" 2>&1) || fail "the API server refused $*: $answer"
}

# no_rejections: whether neither proxy refused anything istiod sent, nor istiod
# anything it was to send. A refused update leaves the old configuration at work,
# and the stack would look well.
no_rejections() {
  local admin statistics rejected
  rejected=$(fetch "$istiod_monitoring/metrics" | sed -nE '/^pilot_(total_xds_rejects|xds_[a-z]+_reject)[ {]/p')
  for admin in "$gateway_admin" "$client_admin"; do
    statistics=$(fetch "$admin/stats?filter=update_rejected")
    [[ $statistics == *listener_manager.lds.update_rejected* ]] || fail "$admin tells nothing about rejected updates"
    rejected+=$(sed '/: 0$/d' <<<"$statistics")
  done
  [[ -z $rejected ]] || fail "a configuration was rejected: $rejected"
}

answers() { [[ $(fetch --output /dev/null --write-out '%{http_code}' -H "host: $1" "http://$2/") == 200 ]]; }

boot() {
  say "starting the stack in namespace $netns"
  rm -rf "$state" "$state.failed"
  mkdir -p "$state" "$logs" "$pids"
  build_backend
  forget_proxies
  make_pki
  make_namespace

  start_part etcd
  start_part apiserver
  # These three need nothing from one another: all are started, then awaited.
  local part
  for part in controller-manager scheduler kwok; do launch "$part"; done
  apply "$stack/kubernetes/base.yaml" "$istio_crds"
  # Again and again: a CRD that has no conditions yet makes kubectl's wait fail.
  await apiserver "$ready_within" kubectl wait --for=condition=Established crd --all --timeout=2s
  for part in controller-manager scheduler kwok; do
    await "$part" "$ready_within" ready "$part"
    echo "$part is ready"
  done

  # Prometheus, the backends and the proxies find their way once the rest is
  # there; started now, they cost no time later.
  for part in istiod prometheus backend gateway client; do launch "$part"; done
  await istiod "$ready_within" ready istiod
  echo "istiod is ready"
  sed "s|@CA_BUNDLE@|$(one_line "$pki/ca.crt")|" "$stack/istio/webhook.yaml" >"$state/webhook.yaml"
  apply "$state/webhook.yaml" "$stack/istio/gateway.yaml" "$stack/istio/metrics.yaml" \
    "$stack/kubernetes/prometheus.yaml" "$stack/kubernetes/shop.yaml"
  for part in backend gateway client prometheus; do
    await "$part" "$ready_within" ready "$part"
    echo "$part is ready"
  done
  await gateway "$ready_within" answers reviews.shop.example "$gateway_http"
  say "a request went through the gateway"
  await client "$ready_within" answers reviews.shop.svc.cluster.local "$client_http"
  say "a request went through the client's sidecar"
  no_rejections
  describe
}

up() {
  if in_namespace; then fail "up is for outside of the stack; start and stop work in here"; fi
  if is_up; then
    echo "the stack is up already (namespace $netns)"
    return
  fi
  require_prerequisites
  install_binaries
  # What an earlier stack left half standing would only be in the way.
  down >/dev/null
  trap abandon EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  boot
  trap - EXIT INT TERM
  say "the stack is up; use it with: $0 run COMMAND…"
}

# abandon: what a start that failed or was interrupted ends with.
abandon() {
  local status=$? kept="$state.failed"
  trap - EXIT INT TERM
  mkdir -p "$logs"
  mv "$logs" "$kept"
  down >/dev/null
  fail_status=$status fail "the stack did not start and is taken down; the logs of its parts are in $kept"
}

# down: from any state. Nothing of a stack is kept, so nothing is asked politely.
down() {
  if in_namespace; then fail "down is for outside of the stack"; fi
  local part pid
  for part in "${parts[@]}"; do
    pid=$(pid_of "$part") || continue
    kill -KILL -- "-$pid" 2>/dev/null || true
  done
  end_namespace
  rm -rf "$state"
  echo "the stack is down"
}
