#!/usr/bin/env bash
# Zero-1-to-3's training on the GPUs of one machine: runs/several_gpus.sh VIEWS OUT [OPTIONS]. Resumes where it was stopped, also
# with another number of GPUs, as long as it divides the number of batches that the first start had in a step.
#   WEIGHTS  weights to start from (default: sd-image-conditioned-v2); BATCH  pairs per GPU and step
#   OPTIONS  further ones of `zero123 train`
#   READING  "stream" reads tar shards (zero123 data shard) from front to end, for disks that seek slowly
#   SHARDED  "true" shares weights, gradients and moments out among the GPUs (FSDP) in place of a copy on each (DDP)
# torchrun and accelerate launch do the same; with the latter:
#   accelerate launch --multi_gpu --num_processes 8 -m zero123 train VIEWS -o OUT --preset original
# (--multi_gpu also starts processes on CPUs; --cpu starts one, whatever --num_processes says, and is refused)
set -euo pipefail
views=${1:?folder of views} out=${2:?folder of the run}
gpus=${GPUS:-$(python -c 'import torch; print(torch.cuda.device_count())')}
torchrun --standalone --nproc-per-node "$gpus" -m zero123 train "$views" -o "$out" --preset original \
    --finetune-from "${WEIGHTS:-sd-image-conditioned-v2}" --batch "${BATCH:-192}" --set precision=bf16 \
    --set checkpointing=true --set "sharded=${SHARDED:-false}" --set "reading=${READING:-random}" --track tensorboard \
    "${@:3}"
