#!/usr/bin/env bash
# The larger edition of `mini` on one GPU in three commands of ten minutes, without a network; `pack_for_gpu.sh` packs first.
#
#   runs/mini_gpu.sh 530            unpack, render, fit the codec, encode, train the geometry; what there is time for
#   runs/mini_gpu.sh 530            goes on: everything together
#   runs/mini_gpu.sh 500 last       goes on, lets the learning rate fall, and writes the model
#
# Each command ends by itself within its seconds and leaves in OUT (if set) the model as it is then, in pieces below
# 16 MB (`cat model.tar.* | tar x`), and the logs. The next goes on from WORK to the step; where WORK is gone it starts
# over, from the model in PACK/start if one was unpacked there.
#   PACK     folder that pack_for_gpu.sh wrote (default: work/gpu)
#   WORK     where everything goes (default: work/large)
#   PYTHON   a Python with torch (default: python3)
#   RENDER, CODEC_AFTER, GEOMETRY, GEOMETRY_DECAY, DECAY, SAVE   seconds of these stages
#   JOBS, TEXTURED_VIEWS, FLAT_VIEWS, OBJECTS, VIEWS   processes; pictures of each object; procedural objects and theirs
#   BATCH, PRESET, SIZE   of the networks
# Estimated, not run on a GPU yet: 33 GFLOP a pair (10 for the geometry alone), so that 18 minutes are 9 million pairs at
# 35 % of 790 TFLOP/s; a batch of 512 keeps 32 GB of activations.
set -euo pipefail
cd "$(dirname "$0")/.."
end=$((SECONDS + ${1:?seconds that this command may take}))
last=${2:-}
pack=${PACK:-work/gpu} work=${WORK:-work/large} python=${PYTHON:-python3}
preset=${PRESET:-mini-large} size=${SIZE:-256} jobs=${JOBS:-$(nproc)} save=${SAVE:-40}
mkdir -p "$work/logs"
export PYTHONPATH=$PWD/$work/site:$PWD/src OMP_WAIT_POLICY=PASSIVE PYTHONUNBUFFERED=1
case $work in /*) PYTHONPATH=$work/site:$PWD/src ;; esac
zero123="$python -m zero123"
left() { echo $((end - SECONDS - save)); }
say() { echo "[$SECONDS s] $*"; }
done_is() { [ -f "$work/$1.done" ]; }
mark() { touch "$work/$1.done"; say "$1 done"; }
folders() { find "$work/$1" -mindepth 1 -maxdepth 1 -type d -name "${2:-*}" | sort; }

# What is packed; meshes are dealt to as many folders as will be rendered at a time.
unpack() {
    mkdir -p "$work/site"
    tar -C "$work/site" -xJf "$pack/site.tar.xz"
    $zero123 data procedural -o "$work/check" --count 1 --views 1 --size 32 --processes 1  # says at once what is missing
    $python -c "import accelerate, diffusers, torch, transformers, trimesh
import zero123.presets, zero123.training.show, zero123.training.trainer
for m in (accelerate, diffusers, torch, transformers, trimesh): print(m.__name__, m.__version__)
print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU: this is a dry run')"
    [ ! -f "$pack/meshes.zip" ] || $python runs/packed_meshes.py unpack "$pack/meshes.zip" "$work/glb"
    for kind in textured flat; do
        number=0
        find "$work/glb/$kind" -name '*.glb' 2>/dev/null | sort | while read -r file; do
            part=$work/meshes/$kind-$((number++ % ((jobs + 2) / 3)))
            mkdir -p "$part" && mv "$file" "$part/"
        done
    done
}

# Every part by one process; what is not ready in time is left out. Where it was stopped it goes on.
render() {
    local pids=() part number parts=$(((jobs + 2) / 3)) each
    each=$(((${OBJECTS:-2400} + parts - 1) / parts))
    log=$work/logs/render.log
    box="timeout ${RENDER:-180}"
    for part in $( [ ! -d "$work/meshes" ] || folders meshes ); do
        views=${FLAT_VIEWS:-16}
        case $part in */textured-*) views=${TEXTURED_VIEWS:-40} ;; esac
        OMP_NUM_THREADS=1 $box $zero123 data render "$part" -o "$work/views/$(basename "$part")" --views "$views" \
            --size "$size" --processes 1 >>"$log" 2>&1 &
        pids+=($!)
    done
    for ((number = 0; number < parts; number++)); do
        OMP_NUM_THREADS=1 $box $zero123 data procedural -o "$work/views/procedural-$number" --count "$each" \
            --first $((number * each)) --views "${VIEWS:-8}" --size "$size" --processes 1 >>"$log" 2>&1 &
        pids+=($!)
    done
    # the codec needs some pictures of each kind, and the GPU has nothing else to do
    sleep "${CODEC_AFTER:-60}"
    codec &
    local fitted=$!
    for part in "${pids[@]}"; do wait "$part" || [ $? = 124 ]; done
    wait "$fitted"
}

codec() {
    OMP_NUM_THREADS=2 $zero123 codec $(folders views '*-0') -o "$work/codec" --preset "$preset" \
        >>"$work/logs/codec.log" 2>&1
}

encode() {
    # shellcheck disable=SC2046  # several words are meant
    OMP_NUM_THREADS=1 $python - "$preset" "$work" "$jobs" $(folders views) <<'PYTHON'
import multiprocessing, sys
from pathlib import Path

import torch

from zero123.models.patch_codec import PatchCodec
from zero123.models.weights import load_component
from zero123.presets import mini_model
from zero123.training.reading import ReadingSettings, cache_places, cache_settings, fill_caches


def fill(place):
    torch.set_num_threads(1)
    return [str(folder) for folder in fill_caches([place], model, settings)]


preset, work, jobs, *folders = sys.argv[1:]
model = mini_model(load_component(Path(work) / "codec/vae", PatchCodec), preset)
settings = cache_settings(model, "blended", ReadingSettings())
places = cache_places([Path(folder) for folder in folders], Path(work) / "cache")
with multiprocessing.get_context("fork").Pool(int(jobs)) as pool:
    for made in pool.imap_unordered(fill, places):
        print("encoded", *made, flush=True)
PYTHON
}

# The parts of a kind share its weight: textured 0.4, flat 0.35, procedural 0.25, or what there is of them.
weighted() {
    local kind share parts part
    for kind in textured=0.4 flat=0.35 procedural=0.25; do
        share=${kind#*=}
        mapfile -t parts < <(folders views "${kind%=*}-*")
        for part in ${parts[@]+"${parts[@]}"}; do
            echo "$part=$(awk "BEGIN { print $share / ${#parts[@]} }")"
        done
    done
}

# fit OUT STEPS DECAY SECONDS OPTIONS...: 0 where it came to its end, 124 where its time was up, after a checkpoint.
fit() {
    local out=$1 steps=$2 decay=$3 seconds=$4 status=0
    shift 4
    [ "$seconds" -gt 20 ] || return 124
    # only the program itself is told to stop: twice would be at once
    # shellcheck disable=SC2046
    timeout --foreground --kill-after=60 "$seconds" $zero123 train $(weighted) -o "$out" --preset "$preset" \
        --cache "$work/cache" --targets 4 --batch "${BATCH:-512}" --steps "$steps" --decay "$decay" --accept-changes "$@" \
        >>"$work/logs/$(basename "$out").log" 2>&1 || status=$?
    [ $status = 0 ] || [ $status = 124 ] || { tail -5 "$work/logs/$(basename "$out").log"; exit $status; }
    say "$(basename "$out"): $(tail -1 "$out/metrics.jsonl" 2>/dev/null | cut -c1-300)"
    return $status
}

# For how long the learning rate falls, from the newest checkpoint on: the steps that the seconds given allow.
fall() {
    $python - "$@" <<'PYTHON'
import json, sys
from pathlib import Path

out, seconds, batch = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
if not (out / "fall").is_file():
    done = int(sorted((out / "checkpoints").glob("step-*"))[-1].name[5:])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    taken = int(Path(f"{out}.seconds").read_text())
    speeds = [line["pairs_per_second"] for line in lines if line.get("pairs_per_second")] or [done * batch / taken]
    steps = max(int(sorted(speeds)[len(speeds) // 2] / batch * seconds), 1)
    (out / "fall").write_text(f"{done + steps} {steps}")
print((out / "fall").read_text())
PYTHON
}

# train OUT SECONDS FALLING OPTIONS...: at full rate for SECONDS over all commands, then falling for FALLING more.
train() {
    local out=$1 seconds=$2 falling=$3 used=0 before=$SECONDS most plan
    shift 3
    [ ! -f "$out.seconds" ] || used=$(<"$out.seconds")
    if [ ! -f "$out/fall" ] && [ $((seconds - used)) -gt 0 ]; then
        most=$((seconds - used < $(left) ? seconds - used : $(left)))
        fit "$out" 1000000 0 "$most" "$@" || true
        echo $((used + SECONDS - before)) >"$out.seconds"
        [ $((used + SECONDS - before)) -ge "$seconds" ] || return 1
    fi
    # starting takes some seconds too, and a speed is never kept to
    plan=$(fall "$out" $(((falling - 20) * 85 / 100)) "${BATCH:-512}") || exit 1
    # shellcheck disable=SC2086
    fit "$out" $plan "$(left)" "$@"
}

# The averaged weights of the newest checkpoint as a model, before there is a finished one.
snapshot() {
    $python - "$preset" "$work" "$1" "$2" <<'PYTHON'
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from zero123.models.patch_codec import PatchCodec
from zero123.models.pretrained import save_model
from zero123.models.weights import load_component
from zero123.presets import mini_model
from zero123.training.checkpoints import newest_whole

preset, work, run, out = sys.argv[1:]
model, newest = mini_model(load_component(Path(work) / "codec/vae", PatchCodec), preset), newest_whole(Path(run))
values = {**load_file(newest / "weights.safetensors"), **load_file(newest / "ema.safetensors")}
model.load_state_dict(values, strict=False)
save_model(model, out, torch.float16)
PYTHON
}

# hand_over: the newest model there is, and the logs.
hand_over() {
    local model=$work/full/model run
    if [ ! -d "$model" ]; then
        model=$work/snapshot run=$work/full/checkpoints
        [ -d "$run" ] || run=$work/geometry/checkpoints
        if [ -d "$work/geometry/model" ] && [ ! -d "$work/full/checkpoints" ]; then
            model=$work/geometry/model
        elif [ -d "$run" ]; then
            rm -rf "$model" && snapshot "$run" "$model"
        fi
    fi
    for run in geometry full; do
        [ ! -f "$work/$run/metrics.jsonl" ] || cp "$work/$run/metrics.jsonl" "$work/logs/$run.jsonl"
    done
    [ -n "${OUT:-}" ] || return 0
    tar -C "$work" -czf "$OUT/logs.tar.gz" logs
    [ ! -d "$model" ] || tar -C "$(dirname "$model")" -c "$(basename "$model")" | split -b 15M - "$OUT/model.tar."
    say "handed over: $(du -ch "$OUT"/* | tail -1)"
}
trap hand_over EXIT

for stage in unpack render encode; do
    if ! done_is $stage; then
        $stage
        mark $stage
    fi
done
start=$pack/start
if [ ! -d "$start" ]; then
    start=$work/geometry/model
    if [ ! -d "$start" ]; then
        train "$work/geometry" "${GEOMETRY:-240}" "${GEOMETRY_DECAY:-60}" --codec "$work/codec/vae" \
            --set objective.diffusion_weight=0 || exit 0
    fi
fi
if [ ! -d "$work/full/model" ]; then
    seconds=1000000
    if [ "$last" = last ]; then
        used=0
        [ ! -f "$work/full.seconds" ] || used=$(<"$work/full.seconds")
        seconds=$((used + $(left) - ${DECAY:-240}))
    fi
    train "$work/full" "$seconds" "${DECAY:-240}" --finetune-from "$start" || exit 0
fi
