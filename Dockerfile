# The agent's image: docker run IMAGE --test-type http --http-target https://example.com
# ./dev image builds and tries this without Docker.

FROM debian:trixie-slim AS build
ARG DEBIAN_FRONTEND=noninteractive
WORKDIR /src
# The packages come before the sources, so that a change of the sources does not install them again.
COPY dev ./
RUN ./dev deps
COPY . .
RUN ./dev build && strip -o /waddle build/waddle

FROM debian:trixie-slim
ARG DEBIAN_FRONTEND=noninteractive
# iputils-ping measures where the container gets neither ping sockets nor raw ones.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates iputils-ping libcares2 libcurl3t64-gnutls libedit2 libldns3t64 liblua5.4-0 \
    libmicrohttpd12t64 libseccomp2 libsqlite3-0 libssl3t64 libuv1t64 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
 && useradd --uid 1000 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin waddle \
 && install -d -o 1000 -g 1000 -m 700 /data
COPY --from=build /waddle /usr/local/bin/waddle
USER 1000:1000
# Results wait in /data/waddle.db until they are delivered.
ENV STATE_DIRECTORY=/data
VOLUME /data
ENTRYPOINT ["/usr/local/bin/waddle", "agent"]
