#!/usr/bin/env bash
# Evaluate on several processes: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [flags of tools/test.py]
# Several nodes: run it on each with NNODES, NODE_RANK and MASTER_ADDR set. PORT if 29500 is taken.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 CONFIG CHECKPOINT PROCESSES_PER_NODE [flags of tools/test.py]" >&2; exit 2; }
config=$1 checkpoint=$2 processes=$3
tools=$(dirname "$0")
PYTHONPATH="$tools/..:${PYTHONPATH:-}" exec "${PYTHON:-python}" -m torch.distributed.run \
  --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
  "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
