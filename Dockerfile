# LittleQ with its reference app. `make image`, or `docker compose build`; docs/docker.md says how to put your own app
# on top of it.
#
# The base is pinned by tag, not by digest: a digest would have to be renewed for each of Python's security fixes, and
# none can be looked up where this file is tested. Whoever wants one: --build-arg PYTHON_TAG=3.11-slim@sha256:...
ARG PYTHON_TAG=3.11-slim

FROM python:${PYTHON_TAG} AS build
# An index of your own: --build-arg PIP_INDEX_URL=... It stays in this stage, which no image carries along.
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The environment has no pip of its own: nothing is installed at run time.
RUN ["python3", "-m", "venv", "--without-pip", "/opt/littleq"]
RUN ["python3", "-m", "venv", "/opt/build"]

# Locked, with hashes, and no source packages: no compiler is needed. These layers change with the locks alone.
COPY docker/requirements.txt docker/build.txt docker/
RUN ["python3", "-m", "pip", "--python", "/opt/littleq/bin/python", "install", "--quiet", "--require-hashes", \
     "--only-binary=:all:", "-r", "docker/requirements.txt"]
RUN ["/opt/build/bin/python", "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", \
     "-r", "docker/build.txt"]

COPY pyproject.toml README.md LICENSE ./
COPY middleware middleware
COPY littleq littleq
RUN ["/opt/build/bin/python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", \
     "--wheel-dir", "dist", "."]
RUN ["python3", "-m", "pip", "--python", "/opt/littleq/bin/python", "install", "--quiet", "--no-deps", "--no-index", \
     "--find-links", "dist", "littleq"]

COPY actors /app/actors
COPY littleq.toml /app/
# pip has compiled the packages. The root file system is read-only where this runs: what is not compiled now never is.
RUN ["/opt/littleq/bin/python", "-m", "compileall", "-q", "/app/actors"]


FROM python:${PYTHON_TAG}
ARG VERSION=unversioned
LABEL org.opencontainers.image.title="LittleQ" \
      org.opencontainers.image.description="Service levels for Dramatiq task queues, with the reference app." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"

RUN ["groupadd", "--system", "--gid", "10001", "littleq"]
RUN ["useradd", "--system", "--uid", "10001", "--gid", "10001", "--no-create-home", "--home-dir", "/app", \
     "--shell", "/usr/sbin/nologin", "littleq"]
COPY --from=build /opt/littleq /opt/littleq
COPY --from=build /app /app

# PYTHONPATH: the processes that workers run in find the app, wherever they were started.
ENV PATH=/opt/littleq/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1
WORKDIR /app
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
STOPSIGNAL SIGTERM
EXPOSE 9191
# Broker reachable, and whatever runs here takes work. 15 s: what a worker needs to import and start on a busy machine.
HEALTHCHECK --interval=10s --timeout=10s --start-period=15s --retries=3 CMD ["littleq", "health"]
# No shell in between: signals reach LittleQ, and its exit code is the container's.
ENTRYPOINT ["littleq"]
CMD ["up"]
