# Triton with Slipway's stages, and trtllm-build: `docker compose up triton` and `docker compose run build`
# build and run it.
# The image tag decides the TensorRT-LLM version (26.07 carries 1.2.1) and has Python 3.12.
ARG BASE=nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3
FROM ${BASE}

# EXTRAS=triton,compile brings tritonserver itself too, for a base image that has none.
ARG EXTRAS=serving,compile

# An environment of its own leaves the packages of TensorRT-LLM in the base image as they are. It sees them
# after its own packages. Triton's Python stub asks the first `python3` on PATH where packages are.
# The image's openai, 1.107.3, is too old for its own tensorrt_llm. It is replaced in the image itself, because
# trtllm-build and the workers of LLM import it too.
WORKDIR /app
COPY pyproject.toml README.md ./
COPY docker/image_packages.py docker/
RUN mkdir slipway && touch slipway/__init__.py \
    && python3 -m venv --without-pip /opt/slipway \
    && python3 -m pip --python /opt/slipway/bin/python3 install --no-cache-dir ".[${EXTRAS}]" \
    && python3 -m pip install --no-cache-dir --no-deps --break-system-packages openai==2.53.0 \
    && python3 docker/image_packages.py \
        > "$(/opt/slipway/bin/python3 -c 'import site; print(site.getsitepackages()[0])')/image.pth"
ENV PATH=/opt/slipway/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp

# As `slipway triton` sets them (slipway/serve/process_groups.py), for a tritonserver that is started without it.
ENV TRTLLM_KVCACHE_TRANSFER_BUFFER_SIZE=0B \
    OMPI_MCA_btl_tcp_if_include=lo

COPY slipway slipway
RUN python3 -m pip --python /opt/slipway/bin/python3 install --no-cache-dir --no-deps . && rm -r slipway
# For Triton's Python backend, which `slipway triton` puts here when tritonserver comes from the wheel.
RUN mkdir .cache && chown 1000:1000 .cache

USER 1000:1000
EXPOSE 8000 8001 8002
# Large engines take minutes to load.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
CMD ["slipway", "triton", "--host", "0.0.0.0"]
