#!/usr/bin/env bash
# gan train on all GPUs of this job, going on where an earlier try of it stopped.
#
#   train.sh --corpus CORPUS --out RUN [any flag of gan train]
#
# Scheduler scripts call this; it can be tried by hand on a machine without one. What a scheduler
# says of the job comes in the environment:
#   GPUS    ranks on this node (those nvidia-smi lists; 1 where there is none)
#   NODES   nodes (1); with more, HEAD is the first one's name and JOB is the same on all of them
#   PYTHON  the Python that has jazz-gan (python3)
set -euo pipefail

PYTHON=${PYTHON:-python3}
NODES=${NODES:-1}
if [ -z "${GPUS:-}" ]; then
  GPUS=$( (nvidia-smi --list-gpus 2>/dev/null || true) | wc -l)
  [ "$GPUS" -gt 0 ] || GPUS=1
fi
# Idle threads that spin rob the others of a shared node.
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# How long torchrun lets ranks that are told to stop finish and save their step; its own is 30.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-60}

# A mistake is told here, once, and not by every rank at every restart.
"$PYTHON" -m gan train "$@" --resume --check $((NODES * GPUS))

if [ "$NODES" -gt 1 ]; then
  meet=(--rdzv-backend c10d --rdzv-id "${JOB:?JOB must be the same on all nodes}"
        --rdzv-endpoint "${HEAD:?HEAD must name the first node}:${PORT:-29500}")
else
  meet=(--standalone)
fi
# Dead ranks are started again, and go on from the latest checkpoint.
exec "$PYTHON" -m torch.distributed.run --nnodes "$NODES" --nproc-per-node "$GPUS" \
  --max-restarts 3 "${meet[@]}" -m gan train "$@" --resume
