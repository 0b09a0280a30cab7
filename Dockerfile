# Images of Hedgerow's parts, one a target: cloudcore, edgecore, mappers. `make image` builds all three.
#
#   podman build --target mappers --tag hedgerow/mappers:0.1.0 .
#
# Another base needs Python 3.11 to 3.13 at the same path in both stages: --build-arg BASE=...

ARG BASE=docker.io/library/python:3.13-slim

# What is installed, from what .dockerignore lets through. It has to be built on the machine's own kind, or by --platform.
FROM ${BASE} AS sources
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY edgewire edgewire
COPY cloud cloud
COPY edge_gateway edge_gateway
COPY mappers mappers
# An environment without pip: nothing is installed into a running image. It is compiled, for images are read-only.
RUN python3 -m venv --without-pip /opt/hedgerow

FROM sources AS build-cloudcore
RUN pip --python /opt/hedgerow/bin/python install --no-cache-dir --compile ".[cloud]" && rm /opt/hedgerow/bin/hedgerow

FROM sources AS build-edgecore
RUN pip --python /opt/hedgerow/bin/python install --no-cache-dir --compile ".[edge,mappers]" && rm /opt/hedgerow/bin/hedgerow

FROM sources AS build-mappers
RUN pip --python /opt/hedgerow/bin/python install --no-cache-dir --compile ".[mappers]" && rm /opt/hedgerow/bin/hedgerow

# What runs: Python, the environment, a user without a name.
FROM ${BASE} AS runtime
ENV PATH=/opt/hedgerow/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/hedgerow
RUN chown 10000:10000 /var/lib/hedgerow
USER 10000:10000
STOPSIGNAL SIGTERM

FROM runtime AS cloudcore
COPY --from=build-cloudcore /opt/hedgerow /opt/hedgerow
EXPOSE 10000 10250
ENTRYPOINT ["cloudcore"]

# Its store is what must outlive it: mount /var/lib/hedgerow. It finds nothing of the machine beside what is mounted, and pods
# as plain processes would run inside of it: `edged: {runtime: none}`, unless that is meant.
FROM runtime AS edgecore
COPY --from=build-edgecore /opt/hedgerow /opt/hedgerow
EXPOSE 1883 8883
VOLUME /var/lib/hedgerow
ENTRYPOINT ["edgecore"]

FROM runtime AS mappers
COPY --from=build-mappers /opt/hedgerow /opt/hedgerow
ENTRYPOINT ["mapper"]
