# syntax=docker/dockerfile:1
# The full image has the C compiler; both have the same Python in the same place.
FROM python:3.11 AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY proxy ./proxy
RUN python -m venv /opt/fig && FIG_COMPILE=1 /opt/fig/bin/pip install .

FROM python:3.11-slim
LABEL org.opencontainers.image.title="strangler-fig" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/fig/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FIG_CONFIG=/etc/fig/proxy.yaml
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin fig \
    && install -d -o fig -g fig /etc/fig/var
COPY --from=build /opt/fig /opt/fig
USER 10001
# The store (var/fig.db) and the rollback files (var/rollback/) live beside the configuration file.
VOLUME /etc/fig/var
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["fig", "health"]
ENTRYPOINT ["fig"]
CMD ["serve"]
