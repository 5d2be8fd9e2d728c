# shellcheck shell=bash
# Keys, certificates and kubeconfigs of one stack. They are made anew at every
# start and never leave the state folder.

certificate_days=30

# signed NAME SUBJECT EXTENSIONS: a key and a certificate signed by the stack's authority.
signed() {
  local name=$1 subject=$2 extensions=$3
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" \
    -keyout "$pki/$name.key" -out "$pki/$name.csr" 2>/dev/null
  openssl x509 -req -in "$pki/$name.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial \
    -days "$certificate_days" -extfile <(printf '%s\n' "$extensions") -out "$pki/$name.crt" 2>/dev/null
}

one_line() { base64 -w0 "$1"; }

# kubeconfig FILE USER: USER is the user's entry as a YAML flow mapping.
kubeconfig() {
  cat >"$1" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: stack, cluster: {server: "$api_url", certificate-authority-data: "$(one_line "$pki/ca.crt")"}}]
users: [{name: user, user: $2}]
contexts: [{name: stack, context: {cluster: stack, user: user, namespace: shop}}]
current-context: stack
YAML
}

make_pki() {
  (umask 077 && mkdir -p "$pki")
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=kubectl-canary-stack \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -days "$certificate_days" -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
  # One serving certificate: the API server, kwok's kubelet port and istiod's
  # webhook are all on addresses of the one namespace.
  signed serving /CN=kube-apiserver \
    "subjectAltName=IP:127.0.0.1,IP:10.244.255.253,IP:10.244.255.254,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
extendedKeyUsage=serverAuth"
  signed admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
  openssl genrsa -out "$pki/service-account.key" 2048 2>/dev/null
  openssl rsa -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub" 2>/dev/null

  # The second user has no role at all: tests bind to it what they grant.
  local dev_token
  dev_token=$(openssl rand -hex 16)
  printf '%s,dev,dev,"developers"\n' "$dev_token" >"$pki/tokens.csv"
  kubeconfig "$admin_kubeconfig" "{client-certificate-data: \"$(one_line "$pki/admin.crt")\", client-key-data: \"$(one_line "$pki/admin.key")\"}"
  kubeconfig "$dev_kubeconfig" "{token: \"$dev_token\"}"
}
