# Chainbell, and the development nodes of its tests and of the `dev` profile in docker-compose.yml.
#
#   docker build --tag chainbell .
#   docker build --target nodes --tag chainbell-nodes .

# The wheel is built with the pinned tools of requirements.txt. What runs gets requirements.run.txt alone: the same pins
# without the tools (`make lock` writes both).
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.txt requirements.run.txt ./
RUN python -m venv /opt/tools \
 && /opt/tools/bin/pip install --no-cache-dir --require-hashes --no-deps --requirement requirements.txt \
 && python -m venv --without-pip /opt/chainbell \
 && /opt/tools/bin/pip --python /opt/chainbell/bin/python install --no-cache-dir --require-hashes --no-deps \
    --requirement requirements.run.txt
COPY pyproject.toml README.md LICENSE ./
COPY chains chains
COPY src src
RUN /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && /opt/tools/bin/pip --python /opt/chainbell/bin/python install --no-cache-dir --no-deps /tmp/wheel/*.whl

# Development nodes: anvil from npm, bitcoind from Debian packages, both as tools/install-nodes pins or resolves them.
FROM node:22-bookworm-slim AS nodes
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
COPY tools/install-nodes tools/install-nodes
RUN python3 tools/install-nodes anvil bitcoind
ENV PATH=/src/.nodes/bin:$PATH
RUN useradd --system --uid 10002 --create-home --home-dir /var/lib/nodes nodes
USER nodes
WORKDIR /var/lib/nodes
CMD ["anvil", "--host", "0.0.0.0"]

FROM python:3.11-slim-bookworm AS chainbell
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/chainbell chainbell
COPY --from=build /opt/chainbell /opt/chainbell
ENV PATH=/opt/chainbell/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CHAINBELL_DATA_DIR=/var/lib/chainbell \
    CHAINBELL_API_HOST=0.0.0.0 \
    CHAINBELL_LOG_FORMAT=json
USER chainbell
WORKDIR /var/lib/chainbell
VOLUME /var/lib/chainbell
EXPOSE 8080
# Alive, not ready: who waits for its database or has another process follow the chains is not to be killed for it.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"CHAINBELL_API_PORT\") or 8080}/health/live', timeout=4)"]
# A drain takes at most a minute: give it `docker stop --time 75`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["chainbell"]
CMD ["run"]
