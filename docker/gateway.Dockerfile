# The gateway, as two images: docker build -f docker/gateway.Dockerfile --target cpu (or gateway) .
# - cpu has onnxruntime, and serves an engine of its own.
# - gateway has none: it asks Triton.
ARG BASE=python:3.12.12-slim-bookworm

# The packages before the code, because they change seldom: an empty slipway stands for it. pip stays out of
# the environment. A package index of one's own comes with `--secret id=pip.conf,src=FILE`.
FROM ${BASE} AS packages
WORKDIR /build
COPY pyproject.toml README.md ./
COPY requirements/constraints.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    mkdir slipway && touch slipway/__init__.py \
    && python3 -m venv /opt/pip \
    && python3 -m venv --without-pip /opt/slipway \
    && /opt/pip/bin/pip --python /opt/slipway/bin/python3 install --no-cache-dir -c requirements/constraints.txt .

FROM packages AS gateway-environment
COPY slipway slipway
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/pip/bin/pip --python /opt/slipway/bin/python3 install --no-cache-dir --no-deps .

FROM packages AS cpu-packages
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/pip/bin/pip --python /opt/slipway/bin/python3 install --no-cache-dir -c requirements/constraints.txt \
        ".[serving]"

FROM cpu-packages AS cpu-environment
COPY slipway slipway
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/pip/bin/pip --python /opt/slipway/bin/python3 install --no-cache-dir --no-deps .

# What is set here is a default: the command has no options, so that every SLIPWAY_* of the container counts.
FROM ${BASE} AS runtime
ENV PATH=/opt/slipway/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    SLIPWAY_HOST=0.0.0.0 \
    SLIPWAY_PORT=9000
COPY docker/healthcheck /usr/local/bin/
WORKDIR /app
USER 1000:1000
EXPOSE 9000
CMD ["slipway", "gateway"]

FROM runtime AS cpu
COPY --from=cpu-environment /opt/slipway /opt/slipway
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["healthcheck", "SLIPWAY_PORT", "/health/ready"]

FROM runtime AS gateway
COPY --from=gateway-environment /opt/slipway /opt/slipway
ENV SLIPWAY_BACKEND=triton \
    SLIPWAY_TRITON_URL=triton:8001
# Alive, not ready: the gateway is up before Triton and says so itself at /health/ready.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["healthcheck", "SLIPWAY_PORT", "/health/live"]
