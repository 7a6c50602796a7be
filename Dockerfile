# One image for the web server and the workers; docker-compose.yml starts them.

# The annotators' page
FROM node:24-slim AS frontend
WORKDIR /build
COPY frontend/package.json frontend/package-lock.json frontend/.npmrc ./
RUN npm ci
COPY frontend ./
RUN npm run build

# The dependencies
FROM python:3.11-slim AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements.txt requirements-nodeps.txt ./
# PyPI's torch brings some GB for NVIDIA GPUs. For those: --build-arg TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /venv/bin/pip install --index-url "$TORCH_INDEX" "$(grep -o '^torch==[0-9.]*' requirements.txt)" torchvision \
    && /venv/bin/pip install -r requirements.txt \
    && /venv/bin/pip install --no-deps -r requirements-nodeps.txt

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 kindred && install -d -o kindred /data
WORKDIR /app
COPY --from=dependencies /venv /venv
COPY manage.py LICENSE ./
COPY curation curation
COPY datasets datasets
COPY search search
COPY --from=frontend /build/dist frontend/dist
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 DATA_DIR=/data
RUN python -m compileall -q curation datasets search
USER kindred
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["granian", "--interface", "wsgi", "curation.wsgi:application", "--host", "0.0.0.0", "--port", "8000", "--http", "1", \
     "--no-ws", "--workers", "2", "--blocking-threads", "8", "--backpressure", "64", "--respawn-failed-workers", \
     "--workers-kill-timeout", "3", "--log-level", "warning"]
