#!/usr/bin/env bash
# Packs what `mini_gpu.sh` needs on a machine without a network into WORK/gpu: packages and meshes, within LIMIT.
#   CORPUS   folder of GLB files to train on, in textured/ and flat/; the first whole, of the second what there is room for
#   WORK     where everything goes (default: work)
#   LIMIT    bytes for the checkout, the packages and the meshes together (default: 64 MiB less one)
#   PACKAGES what that machine lacks, each with what it needs (default: what one with torch, transformers, accelerate,
#            scipy, pillow and typer lacks; those too would take 63 MB)
#   PYTHON_THERE  its Python, of which it must be (default: 3.12); x86-64 Linux is assumed
set -euo pipefail
cd "$(dirname "$0")/.."
out=${WORK:-work}/gpu
python=${PYTHON:-.venv/bin/python}
limit=${LIMIT:-$((63 * 1024 * 1024))}
there=${PYTHON_THERE:-3.12}
lacks=${PACKAGES:-diffusers importlib-metadata zipp embreex trimesh}

rm -rf "$out/wheels" && mkdir -p "$out/wheels"
platforms=()
for glibc in 2_39 2_35 2_34 2_31 2_28 2_27 2_26 2_24 2_17 2_12 2_5; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
# shellcheck disable=SC2086  # several words are meant
"$python" -m pip download -q --no-deps --only-binary=:all: --implementation cp --python-version "$there" \
    "${platforms[@]}" --platform manylinux2014_x86_64 -d "$out/wheels" $lacks
# wheels hold what is compressed badly; all together, unpacked, they take little more than half
rm -rf "$out/site" && mkdir "$out/site"
for wheel in "$out"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$out/site"; done
tar -C "$out/site" -cJf "$out/site.tar.xz" . && rm -rf "$out/site" "$out/wheels"

tree=$(git ls-files -z --cached --others --exclude-standard | xargs -0 cat 2>/dev/null | wc -c)
room=$((limit - tree - $(stat -c %s "$out/site.tar.xz")))
echo "bytes: checkout $tree, packages $(stat -c %s "$out/site.tar.xz"), left for meshes $room"
if [ -n "${CORPUS:-}" ]; then
    PYTHONPATH=src "$python" runs/packed_meshes.py pack "$out/meshes.zip" "$room" "$CORPUS/textured" "$CORPUS/flat"
fi
du -b "$out"/*
