# The OpenAI-compatible gateway; `docker compose up triton` builds and runs it beside Triton.
ARG BASE=python:3.12-slim
FROM ${BASE}

WORKDIR /app
# The packages first, which change seldom: an empty slipway stands for the code.
COPY pyproject.toml README.md ./
# pyproject.toml pins every version. In front of Triton no extra is needed: onnxruntime stays out.
# hadolint ignore=DL3013
RUN mkdir slipway && touch slipway/__init__.py && python3 -m pip install --no-cache-dir .
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp

COPY slipway slipway
RUN python3 -m pip install --no-cache-dir --no-deps . && rm -r slipway

USER 1000:1000
EXPOSE 9000
# Alive, not ready: the gateway is up before Triton and says so itself at /health/ready.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9000/health/live', timeout=4)"]
CMD ["slipway", "gateway", "--backend", "triton", "--triton-url", "triton:8001", "--host", "0.0.0.0"]
