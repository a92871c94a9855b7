#!/usr/bin/env bash
# One machine's part in a Ray cluster: the first runs a command on it, the others serve that.
#
#   RAY_AUTH_TOKEN=… configs/cluster/node.sh RANK FIRST COMMAND…
#
# To be run on every machine of an allocation: RANK counts them from 0, FIRST is the address of rank
# 0, and all share one token. Rank 0 ends with COMMAND and its exit code; a machine that is lost, or
# never came, does not end the run.
set -euo pipefail

rank=$1 first=$2
shift 2
: "${RAY_AUTH_TOKEN:?is the secret that the machines of this cluster share: openssl rand -hex 32}"
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
port=${RAY_PORT:-6379}
# Ray's fixed port for this would keep jobs from the second of two clusters that share a machine.
shared=(--dashboard-agent-listen-port=0)

await_head() {
  for _ in {1..100}; do
    if ray health-check --address "$first:$port" &>/dev/null; then return; fi
    if [[ -n ${ray:-} ]] && ! kill -0 "$ray" 2>/dev/null; then break; fi
    sleep 1
  done
  echo "machine $rank: no Ray answers at $first:$port: see /tmp/ray/session_latest/logs there" >&2
  return 1
}

if [[ $rank != 0 ]]; then
  await_head
  # Soon after the head is gone this machine should be free, not a minute later.
  export RAY_gcs_rpc_server_reconnect_timeout_s=10
  ray start --address="$first:$port" "${shared[@]}" --block ||
    echo "machine $rank: the head is gone" >&2
  exit 0
fi

# When the command is over nothing is left to be drained, for which Ray would wait half a minute.
RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 \
  ray start --head --node-ip-address="$first" --port="$port" --dashboard-host=127.0.0.1 \
  --dashboard-port="${RAY_DASHBOARD_PORT:-8265}" "${shared[@]}" --block &
ray=$!
trap 'kill "$ray" 2>/dev/null && wait "$ray" || true' EXIT
await_head
RAY_ADDRESS="$first:$port" "$@"
