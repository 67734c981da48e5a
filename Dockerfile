# syntax=docker/dockerfile:1
# The images with a container engine:
#
#   docker build --target coordinator -t torc/coordinator .
#   docker build --target node        -t torc/node .
#
# `make image` builds the same without one. A test in tools/image holds users, paths and variables of both to each other.

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETARCH
ARG VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=linux GOARCH=$TARGETARCH GOAMD64=v1 \
    go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$VERSION" -o /out/usr/lib/torc/ ./coordinator ./node
RUN mkdir -p /out/etc/ssl/certs /out/var/lib/torc /out/tmp && chmod 1777 /out/tmp && chmod 750 /out/var/lib/torc \
 && echo 'torc:x:65532:65532:torc:/var/lib/torc:/nonexistent' >/out/etc/passwd && echo 'torc:x:65532:' >/out/etc/group \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/

FROM scratch AS coordinator
COPY --from=build /out/etc /etc
COPY --from=build /out/tmp /tmp
COPY --from=build --chown=65532:65532 /out/var/lib/torc /var/lib/torc
COPY --from=build /out/usr/lib/torc/coordinator /usr/lib/torc/coordinator
ENV PATH=/usr/bin TORC_HOME=/var/lib/torc/home TORC_TRUST=/var/lib/torc/trust
WORKDIR /var/lib/torc
VOLUME /var/lib/torc
EXPOSE 7170/tcp 7180/tcp
USER 65532:65532
ENTRYPOINT ["/usr/lib/torc/coordinator"]

# A base with the C library, which the drivers of GPUs need; the program itself does not.
FROM gcr.io/distroless/base-debian12 AS node
COPY --from=build /out/etc/passwd /out/etc/group /etc/
COPY --from=build --chown=65532:65532 /out/var/lib/torc /var/lib/torc
COPY --from=build /out/usr/lib/torc/node /usr/lib/torc/node
ENV PATH=/usr/bin TORC_HOME=/var/lib/torc/home TORC_TRUST=/var/lib/torc/trust
WORKDIR /var/lib/torc
VOLUME /var/lib/torc
EXPOSE 7171/tcp 7180/tcp
USER 65532:65532
ENTRYPOINT ["/usr/lib/torc/node"]
