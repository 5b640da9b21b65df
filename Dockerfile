# One image per program: docker build --build-arg SERVICE=order-srv . builds a service; --target selects another image.

# The base images, by other names where Docker Hub or gcr.io is slow or blocked. docker compose passes those of .env.
ARG GOLANG_IMAGE=golang:1.26
ARG DISTROLESS_IMAGE=gcr.io/distroless/static-debian12:nonroot
ARG DEBIAN_IMAGE=debian:bookworm-slim
# An image that contains /usr/bin/k6, such as grafana/k6:1.8.1. The default is the stage below that compiles k6.
ARG K6_IMAGE=compile-k6

FROM ${GOLANG_IMAGE} AS go
# A module proxy of your own: docker compose passes these variables from your environment.
ARG GOPROXY GOSUMDB GONOSUMDB
ENV CGO_ENABLED=0
WORKDIR /src

FROM go AS build
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TAGS
# This stage builds all programs: they share most packages, and all images share the stage.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -tags="$TAGS" -ldflags='-s -w' -o /out/ ./api-gateway ./order-srv ./inventory-srv ./cmd/holdfast

# The tools are compiled with their own versions of modules, the ones that their authors tested.
FROM go AS compile-k6
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOBIN=/usr/bin go install -trimpath -ldflags='-s -w' go.k6.io/k6@v1.8.1

FROM go AS compile-vegeta
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOBIN=/usr/bin go install -trimpath -ldflags='-s -w' github.com/tsenart/vegeta/v12@v12.13.0

FROM ${DEBIAN_IMAGE} AS debian
# Another host for Debian's packages, such as http://mirrors.example.com.
ARG DEBIAN_MIRROR
RUN [ -z "$DEBIAN_MIRROR" ] || \
    find /etc/apt -name '*.sources' -o -name sources.list | xargs sed -i "s|http://deb.debian.org|$DEBIAN_MIRROR|"

# The command line. Lessons and comparisons start Redis servers of their own; redis-tools contains the whole server.
FROM debian AS holdfast
RUN apt-get update && apt-get install -y --no-install-recommends redis-tools && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
COPY --from=build /out/holdfast /usr/bin/holdfast
ENTRYPOINT ["holdfast"]

FROM ${K6_IMAGE} AS k6-binary

# Its argument is a script's name: oversell or steady.
FROM ${DISTROLESS_IMAGE} AS k6
COPY --from=k6-binary /usr/bin/k6 /usr/bin/k6
WORKDIR /k6
COPY loadtest/k6/shop.js loadtest/k6/verdict.js ./
COPY loadtest/k6/oversell.js oversell
COPY loadtest/k6/steady.js steady
ENTRYPOINT ["k6", "run", "--quiet", "--no-usage-report"]

# The exercises need the compiler each time a learner changes one. The image has all modules, so no network is needed then.
# Compose mounts the folder exercises, and on /cache a volume that keeps what was compiled: the first command takes minutes,
# the next ones seconds, also after the image was made anew.
FROM go AS exercises
ENV GOCACHE=/cache/build GOTMPDIR=/cache/tmp GOMODCACHE=/modules HOME=/tmp GOFLAGS="-buildvcs=false -p=2"
# An empty volume begins with the content of its folder here, and with the folder's owner.
RUN mkdir -p /cache/build /cache/tmp /modules && chown -R 65532:65532 /cache /modules
USER 65532:65532
COPY go.mod go.sum ./
COPY exercises/go.mod exercises/go.sum exercises/
RUN go -C exercises mod download
COPY . .
COPY --chmod=755 deploy/exercises /usr/bin/exercises
ENTRYPOINT ["exercises"]

# inventory-srv with the strategy of exercise 10 beside its own. docker-compose.mine.yml names the folder "learner".
FROM build AS compile-mine
COPY --from=learner . exercises/
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go -C exercises build -trimpath -ldflags='-s -w' -o /out/mine ./cmd/inventory

FROM ${DISTROLESS_IMAGE} AS mine
COPY --from=compile-mine /out/mine /app
ENTRYPOINT ["/app"]

FROM debian AS vegeta
RUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
COPY --from=compile-vegeta /usr/bin/vegeta /usr/bin/vegeta
COPY --from=build /out/holdfast /usr/bin/holdfast
COPY loadtest/vegeta/run /loadtest/vegeta/run
ENV VEGETA=vegeta HOLDFAST=holdfast
ENTRYPOINT ["bash", "/loadtest/vegeta/run"]

FROM ${DISTROLESS_IMAGE} AS service
ARG SERVICE
COPY --from=build /out/${SERVICE} /app
ENTRYPOINT ["/app"]
