# shellcheck shell=bash
# Where things are: the clone, the cache of binaries, this clone's state, and
# the addresses that the stack's parts agree on. Sourced by scripts/cluster.

# The name of a stack comes from the clone's path, so that two clones on one
# machine run side by side. Ports need no such care: each stack has a network
# namespace of its own.
stack_id=$(printf '%s' "$tree" | sha256sum | cut -c1-8)
netns="canary-$stack_id"

cache="${KUBECTL_CANARY_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set, and neither is KUBECTL_CANARY_CACHE}/.cache}/kubectl-canary}"
state="$cache/stacks/$stack_id"
logs="$state/log"
pids="$state/pid"
pki="$state/pki"
audit_log="$state/audit.jsonl"
description="$state/stack.json"
admin_kubeconfig="$pki/admin.kubeconfig"
dev_kubeconfig="$pki/dev.kubeconfig"

# Every address of this prefix is local inside the namespace, so a kwok pod's
# address can be listened on without any process or interface per pod.
pod_prefix=10.244.0.0/16

etcd_url=http://127.0.0.1:12379
etcd_peer_url=http://127.0.0.1:12380
api_port=16443
api_url="https://127.0.0.1:$api_port"
istiod_xds=127.0.0.1:15010
istiod_url=http://127.0.0.1:15080
istiod_webhook=127.0.0.1:15017
istiod_monitoring=http://127.0.0.1:15014
prometheus_url=http://127.0.0.1:9090

# The ports of the gateway must differ from the ports of the pods: a gateway
# listener binds every address of the namespace, so on a shared port Envoy would
# connect to itself until it has no descriptors left.
gateway_http=127.0.0.1:18080
gateway_tcp=127.0.0.1:19000
gateway_tcp_alternative=127.0.0.1:19001
gateway_admin=http://127.0.0.1:15000
client_http=127.0.0.1:80
client_admin=http://127.0.0.1:15001
backend_http_port=8080
backend_tcp_port=9000
backend_control=127.0.0.1:18090
