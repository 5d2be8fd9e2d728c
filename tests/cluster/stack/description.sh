# shellcheck shell=bash
# The stack as a test sees it: one JSON file, whose path "run" puts into
# KUBECTL_CANARY_STACK.

# quoted TEXT: as a JSON string. Only paths come here, and the few characters
# that a path may need escaped.
quoted() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

describe_part() {
  local script
  script=$(quoted "$tree/scripts/cluster")
  printf '"%s": {"pid_file": %s, "log": %s, "start": [%s, "start", "%s"], "stop": [%s, "stop", "%s"]}' \
    "$1" "$(quoted "$pids/$1")" "$(quoted "$logs/$1.log")" "$script" "$1" "$script" "$1"
}

# describe: written last and in one piece, so it exists only for a whole stack.
describe() {
  local part separator=''
  {
    cat <<JSON
{
  "namespace": "$netns",
  "kubeconfig": {"admin": $(quoted "$admin_kubeconfig"), "dev": $(quoted "$dev_kubeconfig")},
  "api_server": "$api_url",
  "audit_log": $(quoted "$audit_log"),
  "kubectl": $(quoted "$kubernetes_bin/kubectl"),
  "gateway": {
    "name": "istio-system/public",
    "http": "$gateway_http",
    "tcp": ["$gateway_tcp", "$gateway_tcp_alternative"],
    "admin": "$gateway_admin"
  },
  "client": {"http": "$client_http", "workload": "client", "namespace": "shop", "admin": "$client_admin"},
  "prometheus": {"url": "$prometheus_url", "service": "istio-system/prometheus:9090"},
  "backend": {"control": "http://$backend_control", "http_port": $backend_http_port, "tcp_port": $backend_tcp_port},
  "istiod": {"monitoring": "$istiod_monitoring"},
  "parts": {
JSON
    for part in "${parts[@]}"; do
      printf '%s    %s' "$separator" "$(describe_part "$part")"
      separator=$',\n'
    done
    printf '\n  }\n}\n'
  } >"$description.partial"
  mv "$description.partial" "$description"
}
