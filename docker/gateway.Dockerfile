# The OpenAI-compatible gateway; `docker compose up triton` builds and runs it beside Triton.
ARG BASE=python:3.12-slim
FROM ${BASE}

WORKDIR /app
COPY requirements/common.txt requirements/serving.txt requirements/
RUN python3 -m pip install --no-cache-dir -r requirements/serving.txt
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp

COPY pyproject.toml .
COPY engines/*.py engines/
COPY text text
COPY runtime runtime
COPY gateway gateway

USER 1000:1000
EXPOSE 9000
# Alive, not ready: the gateway is up before Triton and says so itself at /health/ready.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9000/health/live', timeout=4)"]
CMD ["python3", "-m", "gateway", "--backend", "triton", "--triton-url", "triton:8001", "--host", "0.0.0.0"]
