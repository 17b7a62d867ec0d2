# Two stages: one that installs, and one that only runs. No compiler, no pip cache and no root in what is shipped.
FROM python:3.12-slim AS build

WORKDIR /src
RUN python -m venv /opt/veloera
COPY requirements.lock ./
RUN /opt/veloera/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE VELOERA_PROJ ./
COPY domain ./domain
COPY ledger ./ledger
COPY projections ./projections
COPY relay ./relay
COPY api ./api
COPY cli ./cli
RUN /opt/veloera/bin/pip install --no-cache-dir --no-deps --no-build-isolation --no-index .

FROM python:3.12-slim

RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin veloera \
    && install -d -o veloera -g veloera -m 0700 /data
COPY --from=build /opt/veloera /opt/veloera

ENV PATH=/opt/veloera/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=3000 \
    DATA_DIR=/data

USER veloera
WORKDIR /data
VOLUME /data
EXPOSE 3000
STOPSIGNAL SIGTERM

# The image has no curl; the interpreter that is there anyway asks.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=2)"]

CMD ["veloera", "serve"]
