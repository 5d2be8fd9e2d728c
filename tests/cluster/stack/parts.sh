# shellcheck shell=bash
# The parts of the stack, in the order they are started: how each is started, and
# how it is known to be ready.

parts=(etcd apiserver controller-manager scheduler kwok istiod prometheus backend gateway client)

is_part() { [[ " ${parts[*]} " == *" $1 "* ]]; }

# fetch URL [CURL OPTIONS…]: asks inside the namespace, two seconds at most.
fetch() { inside curl --noproxy '*' --silent --show-error --fail --max-time 2 "$@"; }

kubectl() { inside "$kubernetes_bin/kubectl" --kubeconfig "$admin_kubeconfig" "$@"; }

# launch PART: starts the part's process.
launch() {
  local kubeconfigs=(--kubeconfig="$admin_kubeconfig" --authentication-kubeconfig="$admin_kubeconfig"
    --authorization-kubeconfig="$admin_kubeconfig")
  case $1 in
    etcd)
      # Nothing of it has to survive this machine.
      spawn etcd "$etcd_bin/etcd" --name=stack --data-dir="$state/etcd" --unsafe-no-fsync --log-level=warn \
        --quota-backend-bytes=2147483648 \
        --listen-client-urls="$etcd_url" --advertise-client-urls="$etcd_url" \
        --listen-peer-urls="$etcd_peer_url" --initial-advertise-peer-urls="$etcd_peer_url" \
        --initial-cluster="stack=$etcd_peer_url"
      ;;
    apiserver)
      # It ends at once when its advertised address is a loopback one, hence the
      # pod prefix; and no endpoint of itself is published, as none is reached.
      spawn apiserver "$kubernetes_bin/kube-apiserver" --etcd-servers="$etcd_url" \
        --bind-address=127.0.0.1 --secure-port="$api_port" --advertise-address=10.244.255.254 \
        --endpoint-reconciler-type=none --service-cluster-ip-range=10.96.0.0/16 \
        --authorization-mode=RBAC --allow-privileged=true --cert-dir="$state/apiserver" \
        --tls-cert-file="$pki/serving.crt" --tls-private-key-file="$pki/serving.key" \
        --client-ca-file="$pki/ca.crt" --token-auth-file="$pki/tokens.csv" \
        --service-account-issuer=https://kubernetes.default.svc.cluster.local \
        --service-account-key-file="$pki/service-account.pub" \
        --service-account-signing-key-file="$pki/service-account.key" --v=1 \
        --audit-policy-file="$stack/kubernetes/audit.yaml" --audit-log-path="$audit_log"
      ;;
    controller-manager)
      # A test keeps etcd from working for 3 min, and no heartbeat of the node comes through: that is to say
      # nothing of its pods.
      spawn controller-manager "$kubernetes_bin/kube-controller-manager" "${kubeconfigs[@]}" \
        --bind-address=127.0.0.1 --secure-port=10257 --cert-dir="$state/controller-manager" --leader-elect=false \
        --node-monitor-grace-period=10m \
        --service-account-private-key-file="$pki/service-account.key" --root-ca-file="$pki/ca.crt" \
        --kube-api-qps=200 --kube-api-burst=400
      ;;
    scheduler)
      spawn scheduler "$kubernetes_bin/kube-scheduler" "${kubeconfigs[@]}" \
        --bind-address=127.0.0.1 --secure-port=10259 --cert-dir="$state/scheduler" --leader-elect=false
      ;;
    kwok)
      spawn kwok "$kwok_bin/kwok" --kubeconfig="$admin_kubeconfig" --config="$stack/kubernetes/kwok.yaml" \
        --manage-all-nodes=true --cidr=10.244.1.0/16 --node-ip=10.244.255.253 --node-port=10247 \
        --server-address=0.0.0.0:10247 --node-name=kwok --node-lease-duration-seconds=40 \
        --tls-cert-file="$pki/serving.crt" --tls-private-key-file="$pki/serving.key"
      ;;
    istiod)
      # It looks for files below its working folder, so it gets an empty one.
      local environment
      mapfile -t environment < <(grep -v '^#' "$stack/istio/istiod.env")
      mkdir -p "$state/istiod"
      spawn istiod env -C "$state/istiod" "${environment[@]}" "$istio_bin/pilot-discovery" discovery \
        --kubeconfig="$admin_kubeconfig" --namespace=istio-system --clusterID=Kubernetes \
        --meshConfig="$stack/istio/mesh.yaml" --networksConfig="$stack/istio/networks.yaml" \
        --grpcAddr="$istiod_xds" --secureGRPCAddr= --httpAddr="${istiod_url#http://}" \
        --httpsAddr="$istiod_webhook" --monitoringAddr="${istiod_monitoring#http://}" \
        --tlsCertFile="$pki/serving.crt" --tlsKeyFile="$pki/serving.key" --caCertFile="$pki/ca.crt" \
        --ctrlz_address=127.0.0.1 --ctrlz_port=15876 --log_output_level=default:warn,ads:info,delta:info
      ;;
    prometheus)
      spawn prometheus prometheus --config.file="$stack/prometheus/prometheus.yml" \
        --storage.tsdb.path="$state/prometheus" --storage.tsdb.retention.time=6h \
        --web.listen-address=0.0.0.0:9090 --log.level=warn
      ;;
    backend)
      spawn backend "$state/stack-backend" --kubeconfig "$admin_kubeconfig" \
        --http "0.0.0.0:$backend_http_port" --tcp "0.0.0.0:$backend_tcp_port" --control "$backend_control"
      ;;
    gateway | client)
      cat "$stack/envoy/$1.yaml" "$stack/envoy/bootstrap.yaml" >"$state/envoy-$1.yaml"
      # Two Envoys share one namespace of shared-memory names without this.
      spawn "$1" "$envoy" --config-path "$state/envoy-$1.yaml" --disable-hot-restart --concurrency 1 --log-level warning
      ;;
    *) fail "there is no part $1; the parts are: ${parts[*]}" ;;
  esac
}

# ready PART: whether it answers.
ready() {
  case $1 in
    etcd) fetch "$etcd_url/health" ;;
    apiserver) fetch "$api_url/readyz" --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" ;;
    controller-manager) fetch --insecure https://127.0.0.1:10257/healthz ;;
    scheduler) fetch --insecure https://127.0.0.1:10259/healthz ;;
    kwok) fetch --insecure https://10.244.255.253:10247/healthz ;;
    # The webhook's port opens apart from the rest, and without it nothing of the
    # mesh can be written.
    istiod) fetch "$istiod_url/ready" && fetch --insecure "https://$istiod_webhook/ready" ;;
    prometheus) fetch "$prometheus_url/-/ready" ;;
    backend) fetch "http://$backend_control/ready" ;;
    gateway) fetch "$gateway_admin/ready" ;;
    client) fetch "$client_admin/ready" ;;
  esac
}

# connected ADMIN: whether that Envoy has its stream to istiod.
connected() { fetch "$1/stats?filter=^control_plane.connected_state$" | grep -qx 'control_plane.connected_state: 1'; }

readonly ready_within=60

start_part() {
  local part=$1 proxy admin
  if pid_of "$part" >/dev/null; then
    echo "$part runs already"
    return
  fi
  launch "$part"
  await "$part" "$ready_within" ready "$part"
  # A weight is written to be served: after istiod comes back, the proxies must
  # have found it before a test may rely on a write.
  if [[ $part == istiod ]]; then
    for proxy in gateway client; do
      pid_of "$proxy" >/dev/null || continue
      admin="${proxy}_admin"
      await istiod "$ready_within" connected "${!admin}"
    done
  fi
  echo "$part is ready"
}

stop_part() {
  local pid
  if ! pid=$(pid_of "$1"); then
    echo "$1 does not run"
    return
  fi
  end_process "$pid"
  rm -f "$pids/$1"
  echo "$1 is stopped"
}

# was_started: whether there is a stack to enter, even if a part of it is stopped.
was_started() { [[ -f $description && -e /run/netns/$netns ]]; }

# is_up: whether each of its parts runs.
is_up() {
  was_started || return 1
  local part
  for part in "${parts[@]}"; do pid_of "$part" >/dev/null || return 1; done
}

status() {
  local part pid
  if [[ -e /run/netns/$netns ]]; then echo "namespace $netns"; else echo "no namespace ($netns)"; fi
  for part in "${parts[@]}"; do
    if ! pid=$(pid_of "$part"); then
      echo "$part: stopped"
    elif ready "$part" >/dev/null 2>&1; then
      echo "$part: ready, pid $pid"
    else
      echo "$part: runs, does not answer, pid $pid"
    fi
  done
}
