# Portcullis in a container: built in one stage, run in another that has no compiler, no shell history and no root.
# Not built by our tests: the machines they run on have no container runtime. `docker build -t portcullis .`
FROM python:3.11-slim-bookworm AS build
RUN pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY broker broker
COPY clients clients
COPY portcullis portcullis
COPY rotation rotation
ENV UV_PROJECT_ENVIRONMENT=/opt/portcullis UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN uv sync --frozen --no-dev --no-editable --extra all

FROM python:3.11-slim-bookworm
# the home's directory is empty: `init` takes no other, and a home that useradd makes has a shell's files in it
RUN useradd --system --user-group --uid 10001 --home-dir /var/lib/portcullis --no-create-home --shell /usr/sbin/nologin portcullis \
    && install -d -m 0700 -o 10001 -g 10001 /var/lib/portcullis /var/lib/portcullis-state
COPY --from=build /opt/portcullis /opt/portcullis
ENV PATH=/opt/portcullis/bin:$PATH PORTCULLIS_HOME=/var/lib/portcullis XDG_STATE_HOME=/var/lib/portcullis-state PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
VOLUME /var/lib/portcullis
# how far the home has come: it is no part of what is copied and put back
VOLUME /var/lib/portcullis-state
EXPOSE 8700
# the API stays on loopback inside the container: `docker exec` reaches it, bots do not
HEALTHCHECK --interval=10s --timeout=5s CMD ["portcullis", "status", "--json"]
ENTRYPOINT ["portcullis"]
CMD ["run", "--gateway-host", "0.0.0.0", "--allowed-host", "portcullis"]
