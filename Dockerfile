# Two images: `operator` watches and decides, `job` does the work of the steps.
#   buildah bud --target operator -t mixedprecision-operator:0.1.0 .
#   buildah bud --target job [--build-arg EXTRAS="NAME …"] -t mixedprecision-job:0.1.0 .
# EXTRAS adds extras of pyproject.toml to the job image: tensorrt-rtx for GeForce and RTX GPUs;
# tensorrt, whose libraries come from NVIDIA's own index, which the build must then reach;
# ultralytics for its checkpoints, which puts a package under AGPL-3.0 into the image.
# BASE is any image with certificates and, as python3, Python 3.11 or newer with venv. Every package
# is held to the hashes of requirements.lock. A mirror is named by the build's own mounts: a pip.conf
# for uv itself, an /etc/uv/uv.toml for the rest.
ARG BASE=python:3.13-slim

FROM ${BASE} AS packages
# Certificates are the base's own; what is not compiled now is compiled at every start, since the
# root is read-only at run time.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_NO_CACHE=1 UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# uv comes from the lock too, and neither it nor pip gets into the images. Of our own project only
# the packages that it asks for are installed: a change of our code installs nothing again.
RUN python3 -m venv uv \
 && sed -n '/^uv==/,/[^\\]$/p' requirements.lock > uv.txt \
 && uv/bin/pip install --no-deps --require-hashes -r uv.txt \
 && python3 -m venv --without-pip /opt/mpj

FROM packages AS operator-packages
RUN uv/bin/uv pip install --python /opt/mpj/bin/python -c requirements.lock -r pyproject.toml \
    --extra operator && rm -f /opt/mpj/.lock

FROM packages AS job-packages
# torch brings the CUDA libraries.
ARG EXTRAS=""
RUN set -- && for name in runner openvino ${EXTRAS}; do set -- "$@" --extra "${name}"; done \
 && uv/bin/uv pip install --python /opt/mpj/bin/python -c requirements.lock -r pyproject.toml "$@" \
 && rm -f /opt/mpj/.lock

FROM ${BASE} AS common
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# PYTHONSAFEPATH: a folder named operator must never stand for the standard library's module.
# USER: kopf and torch ask for the user's name, and a cluster's user has no line in /etc/passwd.
ENV PATH=/opt/mpj/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp USER=nonroot
WORKDIR /app
COPY LICENSE ./

FROM common AS job
LABEL org.opencontainers.image.title="mixedprecision-job" \
      org.opencontainers.image.description="Steps of a MixedPrecisionJob: export, calibrate, quantize, build, judge"
COPY --from=job-packages /opt/mpj /opt/mpj
COPY jobimage/mpj_runner mpj_runner
# With one seed of hashes for all processes the same input gives the same bytes.
ENV PYTHONHASHSEED=0 \
    ORT_DISABLE_TELEMETRY=1
RUN python -m compileall -q mpj_runner
USER 65532:65532
ENTRYPOINT ["python", "-m", "mpj_runner"]

FROM common AS operator
LABEL org.opencontainers.image.title="mixedprecision-operator" \
      org.opencontainers.image.description="Watches MixedPrecisionJobs and runs their steps as Jobs"
COPY --from=operator-packages /opt/mpj /opt/mpj
# Of the runner it needs what crosses the process boundary, and no more.
COPY jobimage/mpj_runner/__init__.py mpj_runner/__init__.py
COPY jobimage/mpj_runner/contract mpj_runner/contract
COPY operator/mpj_operator mpj_operator
RUN python -m compileall -q mpj_runner mpj_operator
USER 65532:65532
ENTRYPOINT ["python", "-m", "mpj_operator"]
