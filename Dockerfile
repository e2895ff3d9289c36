# ingestd as an image: locked, not root, at home on a read-only root file system.
#   docker build -t ingestd .      (or podman, buildah; behind a mirror: --build-arg PIP_INDEX_URL=...)
#   docker run --read-only --tmpfs /tmp ingestd demo
# In production give BASE by digest: --build-arg BASE=python:3.13-slim@sha256:...  Any base with Python 3.11 or newer
# and its venv module will do.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# pip's own settings, for a mirror or a directory of wheels; the hashes hold whatever the source. pip passes over empty ones.
ARG PIP_INDEX_URL=
ARG PIP_FIND_LINKS=
ARG PIP_NO_INDEX=
ARG PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# Dependencies first: their layer is built again only when a lock changes.
COPY deploy/requirements.txt deploy/requirements-build.txt deploy/
RUN ["sh", "-ec", "\
    python3 -m venv /opt/build; \
    python3 -m venv --without-pip /opt/ingestd; \
    /opt/build/bin/pip install --no-cache-dir --require-hashes -r deploy/requirements-build.txt; \
    /opt/build/bin/pip --python /opt/ingestd/bin/python install --no-cache-dir --require-hashes -r deploy/requirements.txt"]
COPY pyproject.toml README.md LICENSE ./
COPY ingestd ingestd
RUN ["sh", "-ec", "\
    /opt/build/bin/python -m hatchling build -t wheel -d /dist; \
    /opt/build/bin/pip --python /opt/ingestd/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl"]

FROM ${BASE}
LABEL org.opencontainers.image.title="ingestd" \
      org.opencontainers.image.description="Ships dropped DICOM files to a DICOMweb service" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/ingestd /opt/ingestd
ENV PATH=/opt/ingestd/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can see that it is not root. It has no account and needs none.
USER 65532:65532
WORKDIR /
EXPOSE 9464
# For plain container hosts; Kubernetes asks by itself (deploy/kubernetes).
HEALTHCHECK CMD ["/opt/ingestd/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/livez', timeout=3)"]
# No shell in between: SIGTERM reaches the daemon.
ENTRYPOINT ["/opt/ingestd/bin/ingestd"]
CMD ["run"]
