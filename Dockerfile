# The processor's image by default. For a GPU, and without PyTorch (tables only):
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 -t counterstain:cuda .
#   docker build --build-arg TORCH= --build-arg EXTRAS=report -t counterstain:light .
# It runs without root and with a read-only file system:
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/work" -u "$(id -u):$(id -g)" counterstain run study.yaml
# BASE: any Debian-like system with Python 3.11 or newer and its venv; packaging/build_image makes one without a registry.
ARG BASE=docker.io/library/python:3.12-slim-bookworm
FROM ${BASE} AS build
ARG TORCH="torch torchvision"
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=slides,runtimes,data,web
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python3 -m venv /opt/counterstain \
 && { [ -z "$TORCH" ] || /opt/counterstain/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" $TORCH; } \
 && /opt/counterstain/bin/pip install --no-cache-dir ".[$EXTRAS]"

FROM ${BASE}
LABEL org.opencontainers.image.title="counterstain" \
      org.opencontainers.image.description="Classifiers of histology images: train, evaluate and compare by patient" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/counterstain /opt/counterstain
COPY packaging/healthcheck.py /opt/counterstain/healthcheck.py
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
HEALTHCHECK --interval=1m --timeout=30s CMD ["python3", "/opt/counterstain/healthcheck.py"]
ENTRYPOINT ["counterstain"]
CMD ["--help"]
