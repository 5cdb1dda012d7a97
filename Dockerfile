# The processor's image by default; for a GPU:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 -t counterstain:cuda .
# It runs without root and with a read-only file system:
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/work" -u "$(id -u):$(id -g)" counterstain run study.yaml
FROM python:3.12-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=slides,runtimes,data
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/counterstain \
 && /opt/counterstain/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision \
 && /opt/counterstain/bin/pip install --no-cache-dir ".[$EXTRAS]" \
 && find /opt/counterstain -name __pycache__ -prune -exec rm -rf {} +

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="counterstain" \
      org.opencontainers.image.description="Classifiers of histology images: train, evaluate and compare by patient" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/counterstain /opt/counterstain
RUN useradd --uid 1000 --create-home user && install -d -o user /work
# Caches go where a read-only file system is writable.
ENV PATH=/opt/counterstain/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba \
    HF_HOME=/tmp/huggingface
USER user
WORKDIR /work
HEALTHCHECK --interval=5m --timeout=60s CMD ["counterstain", "doctor", "/tmp"]
ENTRYPOINT ["counterstain"]
CMD ["--help"]
