# Every target is a command that you could type; CI calls the same ones.

GO           ?= go
LINT_VERSION := v2.6.2
TEST_FLAGS   ?= -shuffle=on -count=1 -timeout=15m
BIN          := bin/holdfast
BROKER       ?= auto
SOAK         ?= 10m

.DEFAULT_GOAL := help
.PHONY: help build up down status test test-mysql test-short soak-lock compose-test lint fmt

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## compile bin/holdfast and the three services
	@$(GO) build -trimpath -o bin/ ./cmd/holdfast ./api-gateway ./order-srv ./inventory-srv

up: build ## start everything and fill the catalogue; BROKER=rocketmq or devbroker instead of auto
	@$(BIN) up --broker $(BROKER)

down: build ## stop what `make up` started
	@$(BIN) down

status: build ## show what runs
	@$(BIN) status

test: build ## all tests, with the race detector, on private MySQL/MariaDB, Redis and RocketMQ
	@$(BIN) env --private -- $(GO) run ./internal/testrun -race $(TEST_FLAGS) ./... -- $(TEST_FLAGS) ./pkg/mq/... ./order-srv

test-mysql: build ## stores, strategies and e2e on the server that HOLDFAST_MYSQL names: root@tcp(127.0.0.1:3306)/
	@test -n "$$HOLDFAST_MYSQL" || { echo "set HOLDFAST_MYSQL to an administrator's DSN, such as root@tcp(127.0.0.1:3306)/"; exit 2; }
	@$(BIN) env --private -- $(GO) run ./internal/testrun $(TEST_FLAGS) ./pkg/database/... ./inventory-srv/... ./order-srv/... ./e2e/...

test-short: ## tests that need no server
	@$(GO) test -short -shuffle=on ./...
	@cd tools && $(GO) test -shuffle=on -count=1 ./...

soak-lock: ## pkg/lock under random faults for SOAK=10m, checked by porcupine; SEED=n repeats a schedule
	@HOLDFAST_SOAK=$(SOAK) HOLDFAST_SOAK_SEED=$(SEED) $(GO) test -race -v -count=1 -timeout=0 -run '^TestSoak$$' ./pkg/lock/internal/ladder

compose-test: ## run docker-compose.yml for real, on ports of its own: restarts, replicas, audit
	@deploy/compose-test

lint: ## vet, golangci-lint and formatting
	@$(GO) vet ./...
	@$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) run ./...
	@cd tools && $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) run ./...

fmt: ## format the code
	@$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) fmt ./...
