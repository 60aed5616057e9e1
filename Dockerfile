# syntax=docker/dockerfile:1.7
# One small image with all commands but dev, which is for a laptop.

FROM --platform=$BUILDPLATFORM golang:1.26.8-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download
COPY . .
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags="-s -w" -o /out/bin/ ./cmd/enqueue ./cmd/worker ./cmd/monitor
# New volumes take their owner from these folders.
RUN mkdir -p -m 0700 /out/data/.oneflow/artifacts

# No shell, no package manager; user 65532.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/bin/ /usr/local/bin/
COPY --from=build --chown=65532:65532 /out/data/ /data/
# oneflow.yaml and .api_keys.json are read from here. What has to be kept is in .oneflow.
WORKDIR /data
CMD ["worker", "run"]
