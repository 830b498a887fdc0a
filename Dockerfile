# An image that runs synflow-bench: docker build --tag synflow-bench .
FROM python:3.12-slim

# The CPU build; https://download.pytorch.org/whl/cu130 is one for CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir torch torchvision --index-url ${TORCH_INDEX}

WORKDIR /opt/synflow-bench
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY synflow_bench synflow_bench
COPY plugins plugins
RUN pip install --no-cache-dir ".[ray]" && synflow-bench --version

ENV HOME=/tmp OMP_NUM_THREADS=1
WORKDIR /work
ENTRYPOINT ["synflow-bench"]
