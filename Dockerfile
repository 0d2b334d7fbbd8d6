# One image, two variants:   docker build -t zero123 .      docker build -t zero123:cuda --build-arg VARIANT=cu128 .
# It serves over HTTP; the web page instead:   docker run -p 127.0.0.1:7860:7860 zero123 ui --host 0.0.0.0
# VARIANT is an index of torch's wheels: cpu, or cu126, cu128, ... for NVIDIA GPUs (then run with --gpus all).
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS built
WORKDIR /source
COPY pyproject.toml README.md LICENSE ATTRIBUTION.md ./
COPY src ./src
COPY examples/pictures ./examples/pictures
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels

FROM python:${PYTHON}-slim
ARG VARIANT=cpu
ARG EXTRAS=service,ui
COPY --from=built /wheels /wheels
RUN pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/${VARIANT} \
 && pip install --no-cache-dir "$(ls /wheels/zero123-*.whl)[${EXTRAS}]" \
 && rm -r /wheels \
 && useradd --create-home zero123 \
 && install -d -o zero123 /jobs
USER zero123
ENV OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1
VOLUME /jobs
EXPOSE 8123 7860
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8123/health/ready', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["zero123"]
CMD ["serve", "--host", "0.0.0.0", "--jobs", "/jobs"]
