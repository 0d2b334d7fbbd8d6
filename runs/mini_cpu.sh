#!/usr/bin/env bash
# How `mini` is made on two CPU cores: render, fit the codec, train in two processes, score. Resumes where it was stopped.
#   CORPUS   folder of mesh files, in sub-folders textured/, flat/ and test/; without it, procedural objects alone
#   WORK     where everything goes (default: work)
#   COMPILE  1 to compile the networks first, which takes minutes and a C++ compiler, and is 1.4 times faster
#   OBJECTS  procedural objects; GEOMETRY_STEPS, GEOMETRY_DECAY, STEPS, DECAY, READER_STEPS, READER_DECAY  how long to train
# What it reached is in docs/experiments.md, sections 9 to 11.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${WORK:-work}
export OMP_WAIT_POLICY=PASSIVE
# The C library keeps the memory that every step needs anew, in large pages: 1.3 times as many pairs a second.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592
zero123=.venv/bin/zero123

$zero123 data procedural -o "$work/views/procedural" --count "${OBJECTS:-3000}" --views 8 --size 128
kinds=("$work/views/procedural=0.35")
codec=("$work/views/procedural")
if [ -n "${CORPUS:-}" ]; then
    $zero123 data render "$CORPUS/textured" -o "$work/views/train-textured" --views 24 --size 128
    $zero123 data render "$CORPUS/flat" -o "$work/views/train-flat" --views 12 --size 128
    $zero123 data render "$CORPUS/test" -o "$work/views/test" --views 13 --size 128
    kinds+=("$work/views/train-textured=0.2" "$work/views/train-flat=0.45")  # the few textured ones are soon known by heart
    codec=("$work/views/train-textured" "$work/views/train-flat")
fi
[ -d "$work/codec/vae" ] || OMP_NUM_THREADS=2 $zero123 codec "${codec[@]}" -o "$work/codec"

# One thread in each of two processes: threads that wait for each other at every layer are slower than averaged gradients.
# Four targets share an input, which is encoded once; a few are the input itself, so that an unmoved view keeps it. First
# the volume behind the picture and the drafts made of it, which is cheap and tells where things are; then the denoiser
# learns what the drafts got wrong, of a volume that stays as it is; last the reader of the input's place learns from
# pictures framed as a person's, too, in other colours, and of objects stretched and swollen into other shapes: there are
# too few.
train() {
    out=$1; shift
    [ -d "$out/model" ] || OMP_NUM_THREADS=1 .venv/bin/torchrun --nproc-per-node 2 -m zero123 train "${kinds[@]}" -o "$out" \
        --cache "$work/cache" --targets 4 "$@"
}
train "$work/geometry" --same 0.06 --codec "$work/codec/vae" --steps "${GEOMETRY_STEPS:-20000}" --decay "${GEOMETRY_DECAY:-2000}" \
    --set objective.diffusion_weight=0 --set optimiser=muon --set sample_every=0 ${COMPILE:+--set compile=true}
train "$work/run" --same 0.06 --finetune-from "$work/geometry/model" --steps "${STEPS:-20000}" --decay "${DECAY:-4000}" \
    --set freeze_encoders=true --set source_weight=0 --set optimiser=muon ${COMPILE:+--set compile=true}
if [ -n "${CORPUS:-}" ]; then
    kinds=("$work/views/procedural=0.2" "$work/views/train-textured=0.15" "$work/views/train-flat=0.2")
    shape() {  # KIND SEED STRETCH SWELL WEIGHT
        shaped=$work/views/shaped-$1-$2
        $zero123 data render "$CORPUS/$1" -o "$shaped" --views 8 --size 128 --seed "$2" --stretch "$3" --swell "$4"
        kinds+=("$shaped=$5")
    }
    for seed in 1 2; do shape textured $seed 1.6 1 0.04; shape flat $seed 1.6 1 0.07; done
    for seed in 11 12 13 14; do shape textured $seed 1.5 1.3 0.015; done
    for seed in 15 16 17 18; do shape textured $seed 1.5 1.5 0.015; done
    shape flat 11 1.5 1.3 0.055; shape flat 12 1.5 1.5 0.055
fi
train "$work/reader" --finetune-from "$work/run/model" --steps "${READER_STEPS:-3000}" --decay "${READER_DECAY:-1500}" --batch 64 \
    --set diffusion_weight=0 --set volume_weight=0 --set source_weight=1 --set reframed=0.5 --set recoloured=0.5 \
    --set learning_rate=2e-3 --set sample_every=0
if [ -n "${CORPUS:-}" ]; then
    OMP_NUM_THREADS=2 $zero123 evaluate "$work/views/test" -o "$work/scores" --model "$work/reader/model"
fi
