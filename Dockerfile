# The page of the annotators
FROM node:24-slim AS frontend
WORKDIR /build
COPY frontend/package.json frontend/package-lock.json frontend/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY frontend ./
RUN npm run build

FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --system --create-home --uid 10001 kindred \
    && mkdir -p /data \
    && chown kindred /data
WORKDIR /app
COPY requirements.txt ./
# The CPU build of torch comes from its own index; with a GPU, build with --build-arg TORCH_INDEX=https://pypi.org/simple.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --extra-index-url "$TORCH_INDEX" -r requirements.txt
COPY . ./
COPY --from=frontend /build/dist frontend/dist
ENV DATA_DIR=/data DEMO=0
USER kindred
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "granian", "--interface", "wsgi", "curation.wsgi:application", "--host", "0.0.0.0", "--port", "8000", \
     "--http", "1", "--no-ws", "--workers", "2", "--blocking-threads", "8", "--respawn-failed-workers"]
