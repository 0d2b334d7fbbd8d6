#!/usr/bin/env bash
# From meshes of your own objects to a LoRA, and views with it. Resumes where it was stopped.
#   4_finetune.sh MESHES PICTURE   a folder of GLB, glTF, OBJ, PLY or STL files; a picture of an object of their kind
#   MODEL   what to start from: mini, a name of `zero123 weights list`, or a model folder (default: mini)
#   WORK    where everything goes (default: finetuned)
#   RENDER, TRAIN   further options of the two steps, such as TRAIN="--fit-memory 24 --set lora=32"
set -euo pipefail
meshes=$1
picture=$2
model=${MODEL:-mini}
work=${WORK:-finetuned}
read -ra zero123 <<< "${ZERO123:-zero123}"
read -ra render <<< "${RENDER:-}"
read -ra train <<< "${TRAIN:-}"

"${zero123[@]}" data render "$meshes" -o "$work/views" --views 24 ${render[@]+"${render[@]}"}
"${zero123[@]}" train "$work/views" -o "$work/run" --preset finetune --finetune-from "$model" ${train[@]+"${train[@]}"}
"${zero123[@]}" views "$picture" -o "$work/before" --model "$model" --azimuth-deg 60 --azimuth-deg 180
"${zero123[@]}" views "$picture" -o "$work/after" --model "$model" --lora "$work/run/lora.safetensors" \
    --azimuth-deg 60 --azimuth-deg 180
