# One image per program: docker build --build-arg SERVICE=order-srv .
FROM golang:1.26 AS build
# A module proxy of your own: docker compose passes these variables from your environment.
ARG GOPROXY GOSUMDB GONOSUMDB
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
# This stage builds all programs: they share most packages, and all images share the stage.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /out/ ./api-gateway ./order-srv ./inventory-srv ./cmd/holdfast

FROM gcr.io/distroless/static-debian12:nonroot
ARG SERVICE
COPY --from=build /out/${SERVICE} /app
ENTRYPOINT ["/app"]
