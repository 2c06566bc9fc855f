# Triton with Slipway's stages, and trtllm-build: `docker compose up triton` and `docker compose run build`
# build and run it.
# The image tag decides the TensorRT-LLM version (26.07 carries 1.2.1) and has Python 3.12.
ARG BASE=nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3

# An environment of its own leaves the packages of TensorRT-LLM in the base image as they are. pip stays out of
# it. A package index of one's own comes with `--secret id=pip.conf,src=FILE`.
FROM ${BASE} AS environment
# EXTRAS=triton,compile brings tritonserver itself too, for a base image that has none.
ARG EXTRAS=serving,compile
WORKDIR /build
# The packages before the code, because they change seldom: an empty slipway stands for it.
COPY pyproject.toml README.md ./
COPY requirements/constraints.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    mkdir slipway && touch slipway/__init__.py \
    && python3 -m venv /opt/pip \
    && python3 -m venv --without-pip /opt/slipway \
    && /opt/pip/bin/pip --python /opt/slipway/bin/python3 install --no-cache-dir -c requirements/constraints.txt \
        ".[${EXTRAS}]"
# It sees the packages of the base image after its own.
COPY docker/image_packages.py docker/
RUN python3 docker/image_packages.py \
        > "$(/opt/slipway/bin/python3 -c 'import site; print(site.getsitepackages()[0])')/image.pth"
COPY slipway slipway
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/pip/bin/pip --python /opt/slipway/bin/python3 install --no-cache-dir --no-deps .

FROM ${BASE}
# The image's openai, 1.107.3, is too old for its own tensorrt_llm. It is replaced in the image itself, because
# trtllm-build and the workers of LLM import it too. A base image without it needs none.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    if python3 -c 'import openai'; then \
        python3 -m pip install --no-cache-dir --no-deps --break-system-packages openai==2.53.0; \
    fi
COPY --from=environment /opt/slipway /opt/slipway
# Triton's Python stub asks the first `python3` on PATH where packages are.
# What is set here is a default: the command has no options, so that every SLIPWAY_* of the container counts.
# The models are written to /tmp from /app/engines, unless a model repository is mounted and named.
ENV PATH=/opt/slipway/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    SLIPWAY_MODEL_REPOSITORY=/tmp/model_repository \
    SLIPWAY_TRITON_HOST=0.0.0.0 \
    SLIPWAY_TRITON_HTTP_PORT=8000
# As `slipway triton` sets them (slipway/serve/process_groups.py), for a tritonserver that is started without it.
ENV TRTLLM_KVCACHE_TRANSFER_BUFFER_SIZE=0B \
    OMPI_MCA_btl_tcp_if_include=lo
COPY docker/healthcheck /usr/local/bin/
WORKDIR /app
USER 1000:1000
EXPOSE 8000 8001 8002
# Large engines take minutes to load.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s \
    CMD ["healthcheck", "SLIPWAY_TRITON_HTTP_PORT", "/v2/health/ready"]
CMD ["slipway", "triton"]
