# shellcheck shell=bash
# Processes of the stack: started detached in the namespace, known by a pid file
# that also holds the start time, ended by process group.

fail() {
  echo "scripts/cluster: $*" >&2
  exit "${fail_status:-1}"
}

# Whether this very process is in the stack's namespace already, as a test is
# that was started by "scripts/cluster run".
in_namespace() {
  [[ -e /run/netns/$netns && $(stat -Lc %d:%i /proc/self/ns/net) == $(stat -Lc %d:%i "/run/netns/$netns") ]]
}

# inside COMMAND…: runs it in the namespace, from outside or inside of it.
inside() {
  if in_namespace; then "$@"; else ip netns exec "$netns" "$@"; fi
}

# Nothing leaves the namespace, so a proxy of the surroundings must not be asked
# the way to a pod.
forget_proxies() {
  unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
}

# started_at PID: when the process was started; nothing when there is no such
# process, or when only its zombie is left. A pid alone would not do: pids are
# used again.
started_at() {
  local line
  { line=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  # The command's name is in brackets and may itself hold spaces and brackets.
  read -ra fields <<<"${line##*) }"
  [[ ${fields[0]} != Z ]] && echo "${fields[19]}"
}

# pid_of PART: its pid when it runs, a failure when it does not.
pid_of() {
  local pid start
  [[ -f $pids/$1 ]] || return 1
  read -r pid start <"$pids/$1"
  [[ $(started_at "$pid") == "$start" ]] && echo "$pid"
}

# spawn PART COMMAND…: starts it in a session of its own, with nothing inherited
# that could hold a CI job's pipes or this script's lock open.
spawn() {
  local part=$1 pid
  shift
  mkdir -p "$logs" "$pids"
  if in_namespace; then
    setsid "$@" </dev/null >>"$logs/$part.log" 2>&1 9>&- &
  else
    setsid ip netns exec "$netns" "$@" </dev/null >>"$logs/$part.log" 2>&1 9>&- &
  fi
  pid=$!
  disown "$pid"
  echo "$pid $(started_at "$pid" || echo 0)" >"$pids/$part"
}

# await PART SECONDS COMMAND…: until the command succeeds; fails with the part's
# log when the process ends or the time does.
await() {
  local part=$1 seconds=$2 deadline
  deadline=$((SECONDS + seconds))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! pid_of "$part" >/dev/null; then
      show_log "$part" "ended before it was ready"
      return 1
    fi
    if ((SECONDS >= deadline)); then
      show_log "$part" "was not ready within $seconds s"
      return 1
    fi
    sleep 0.1
  done
}

show_log() {
  {
    echo "$1 $2. The end of its log:"
    tail -n 40 "$logs/$1.log" 2>/dev/null | cut -c1-400 | sed 's/^/  | /'
  } >&2
}

# end_process PID: asks its process group, and after some seconds insists.
end_process() {
  local pid=$1 start tries
  start=$(started_at "$pid") || return 0
  kill -TERM -- "-$pid" 2>/dev/null || kill -TERM "$pid" 2>/dev/null || return 0
  for ((tries = 0; tries < 50; tries++)); do
    [[ $(started_at "$pid") == "$start" ]] || return 0
    sleep 0.1
  done
  kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
}

# end_namespace: ends whatever else runs in the namespace (a command left behind
# by "run"), then deletes it. Only this stack's processes can be in there.
end_namespace() {
  [[ -e /run/netns/$netns ]] || return 0
  local pid signal tries left
  for signal in TERM KILL; do
    for ((tries = 0; tries < 20; tries++)); do
      left=0
      for pid in $(ip netns pids "$netns"); do
        left=1
        ((tries > 0)) || kill "-$signal" "$pid" 2>/dev/null || true
      done
      ((left)) || break 2
      sleep 0.1
    done
  done
  ip netns delete "$netns"
}
