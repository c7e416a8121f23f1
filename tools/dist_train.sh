#!/usr/bin/env bash
# Train on several processes of one or more nodes: tools/dist_train.sh CONFIG PROCESSES [flags of tools/train.py]
# Several nodes: run it on each with NNODES, NODE_RANK and MASTER_ADDR set. PORT if 29500 is taken.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 CONFIG PROCESSES_PER_NODE [flags of tools/train.py]" >&2; exit 2; }
config=$1 processes=$2
tools=$(dirname "$0")
PYTHONPATH="$tools/..:${PYTHONPATH:-}" exec "${PYTHON:-python}" -m torch.distributed.run \
  --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
  "$tools/train.py" "$config" --launcher pytorch "${@:3}"
