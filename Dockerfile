# One image for every command of hikari-relay; see docker-compose.yml for how they run together.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/relay
COPY requirements-runtime.lock ./
RUN /opt/relay/bin/pip install --no-cache-dir --require-hashes -r requirements-runtime.lock
COPY . .
RUN /opt/relay/bin/pip install --no-cache-dir --no-deps .
RUN /opt/relay/bin/pip install --no-cache-dir -r examples/requirements.txt

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /app relay
COPY --from=build /opt/relay /opt/relay
WORKDIR /app
COPY examples ./examples
ENV PATH=/opt/relay/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER relay
CMD ["gw-worker", "--help"]
