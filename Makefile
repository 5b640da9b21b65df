# Every target is a command that you could type; CI calls the same ones.

GO           ?= go
LINT_VERSION := v2.6.2
# `make lint` vets, so the tests need not.
TEST_FLAGS   ?= -vet=off -shuffle=on -count=1 -timeout=15m
BIN          := bin/holdfast
REPLICAS     ?= 1
# Builds, tests and lint share what is compiled only if all of them have this flag, and a clone elsewhere shares it too.
export GOFLAGS := $(filter-out -trimpath,$(GOFLAGS)) -trimpath
TOOL         ?= k6
K6_VERSION     := v1.8.1
VEGETA_VERSION := v12.13.0
# These tests run whole shops and need the whole machine, so they have a pass of their own.
ALONE        := TestCrashPoints|TestStack|TestReplicasKilled

# Every commit needs all packages once. What takes minutes and the processors is for CI: outages and bursts of both
# brokers, RocketMQ's check-back storm, what is known of its client library, and the lessons about messages. Three packages
# at once fill two processors, because many tests wait. What takes longest, or waits most, begins first.
ONCE          = -p 3 $(TEST_FLAGS) -skip '$(ALONE)|TestFlows/RocketMQ|TestFlows/development_broker/(outages|burst)|TestLessons_Messages|TestCheckBackStorm|TestTrap|TestStartRocketMQ_(portInUse|badSetting|almostFullDisk)' \
  ./e2e ./pkg/mq ./inventory-srv/internal/strategy ./pkg/outbox ./pkg/mq/devbroker ./order-srv/internal/flow ./internal/lab/lesson $$($(GO) list ./...)
# The race detector is for what production runs, and the tests of it. The services of e2e are processes without it, and
# the laboratory comes later. The strategies take longest, so they begin first. A package whose tests wait runs more of them at once than there are processors (RunParallel).
# The race detector's second of sleep at the end of each process is left out: tests wait for their goroutines.
RACED         = GORACE=atexit_sleep_ms=0 -race $(TEST_FLAGS) ./inventory-srv/internal/strategy $$($(GO) list ./... | grep -vE '/(e2e|docs|cmd|loadtest|internal/lab)(/|$$)')
# The orders of e2e have deadlines, so nothing runs beside it.
ORDERS        = $(TEST_FLAGS) -skip '$(ALONE)' ./e2e
# RocketMQ's client library races with itself, so what uses it in the test process runs here, with the laboratory.
UNRACED       = $(TEST_FLAGS) ./pkg/mq/... ./order-srv ./internal/lab/... ./cmd/... ./docs/... ./loadtest/...
SHOPS         = $(TEST_FLAGS) -run '$(ALONE)' ./e2e
# On MySQL: the packages that have SQL, tcc and xa, and a sell-out for each flow. Messages are the same, so the development
# broker carries them.
DEV_BROKER    = HOLDFAST_NAMESRV= HOLDFAST_BROKER= BROKER=devbroker
ON_MYSQL      = $(DEV_BROKER) $(TEST_FLAGS) ./inventory-srv/internal/strategy ./order-srv/internal/flow ./pkg/database/... \
  ./inventory-srv/internal/store ./order-srv/internal/store ./order-srv/internal/wallet/... ./order-srv/internal/audit ./order-srv/internal/retention
SHOPS_ON_MYSQL = $(DEV_BROKER) $(TEST_FLAGS) -run 'TestFlows/development_broker/calm|TestSellOut|TestUnpaidOrderExpires' ./e2e
# The exercises' module: its engine, its runner, and for each exercise the proof that the start and three wrong attempts get
# their explanations and that the solution passes. The learners' own tests are elsewhere: they fail until they are solved.
PROOFS        = -C exercises $(TEST_FLAGS) ./internal/... ./cmd/...
TOOLS         = -C tools $(TEST_FLAGS) ./...

# The run fails if a broker carried no order: with auto, a broken RocketMQ would only select the other broker.
has           = $(shell sh -c 'command -v $(1)')
comma        := ,
development  := development broker@holdfast/e2e
rocketmq      = $(if $(filter devbroker,$(BROKER)),,$(and $(call has,java),$(call has,mvn),RocketMQ@holdfast/e2e))
require       = $(if $(REQUIRE),-require '$(REQUIRE)')
SOAK         ?= 10m

.DEFAULT_GOAL := help
.PHONY: help build up down status doctor test test-full test-mysql test-short kill-test flows-all storm-test compose-test lessons exercises try hint watch bench bench-lock scale tools load up-mine compare-mine overload soak-lock lint cross fmt FORCE

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## compile bin/holdfast and the three services
	@$(GO) build -o bin/ ./cmd/holdfast ./api-gateway ./order-srv ./inventory-srv

up: build ## start everything, with Docker if an engine answers, else or with NATIVE=1 as plain processes; REPLICAS=2 of each service
	@way=$$(NATIVE='$(NATIVE)' BROKER='$(BROKER)' deploy/way up) && case $$way in \
	docker) docker compose up --build --wait --scale order-srv=$(REPLICAS) --scale inventory-srv=$(REPLICAS) || { \
			$(BIN) doctor --way docker --problems >&2; exit 1; }; \
		echo "The shop is open. Next: $(BIN) order --sku MUG-CLASSIC" ;; \
	native) BROKER='$(BROKER)' $(BIN) up --replicas $(REPLICAS) ;; \
	esac

down: build ## stop what `make up` started; data is kept
	@case $$(deploy/way) in docker) docker compose --profile '*' down ;; native) $(BIN) down ;; esac

status: build ## show what runs
	@case $$(deploy/way) in docker) docker compose ps && $(BIN) status ;; native) $(BIN) status ;; esac

doctor: build ## examine this machine: what would stop `make up`, and what to do
	@$(BIN) doctor

test: REQUIRE ?= $(if $(HOLDFAST_NAMESRV),,$(or $(rocketmq),$(development)))
test: build ## what every commit needs: the tests of all packages, on private MySQL/MariaDB, Redis and RocketMQ
	@$(BIN) env --private -- $(GO) run ./internal/dev/testrun $(require) $(ONCE) -- $(PROOFS) -- $(TOOLS)

test-full: REQUIRE ?= $(development)$(if $(HOLDFAST_NAMESRV),,$(addprefix $(comma),$(rocketmq)))
test-full: build ## all tests, with the race detector: also crash points, killed replicas, whole stacks, and orders on both brokers
	@$(BIN) env --private -- $(GO) run ./internal/dev/testrun $(require) $(RACED) -- $(ORDERS) -- $(UNRACED) -- $(SHOPS) -- $(PROOFS) -- $(TOOLS)

test-mysql: build ## stores, strategies and e2e on the server that HOLDFAST_MYSQL names: root@tcp(127.0.0.1:3306)/
	@test -n "$$HOLDFAST_MYSQL" || { echo "set HOLDFAST_MYSQL to an administrator's DSN, such as root@tcp(127.0.0.1:3306)/"; exit 2; }
	@$(BIN) env --private -- $(GO) run ./internal/dev/testrun $(ON_MYSQL) -- $(SHOPS_ON_MYSQL)

test-short: ## tests that need no server; SHORT=./pkg/... for some packages
	@$(GO) test -vet=off -short -shuffle=on $(or $(SHORT),./...)
	@cd tools && $(GO) test -vet=off -shuffle=on -count=1 ./...
	@cd exercises && $(GO) test -vet=off -short -shuffle=on ./internal/... ./cmd/...

kill-test: build ## 2,000 buyers, 500 units, two replicas of each service, one of each is killed; then an audit
	@$(BIN) env --private -- $(GO) test -count=1 -v -run 'TestReplicasKilled$$' ./e2e/

flows-all: build ## every case of every flow with many buyers, and every crash point, on both brokers
	@for test in TestFlows TestCrashPoints; do \
		$(BIN) env --private -- env HOLDFAST_FLOWS=all $(GO) test -count=1 -v -timeout=40m -run "$$test\$$" ./e2e/ || exit 1; \
	done # not beside each other: either needs the whole machine

storm-test: build ## two replicas decide 20,000 half messages, on a private RocketMQ
	@$(BIN) env --private -- env HOLDFAST_HALF_MESSAGES=20000 $(GO) test -count=1 -v -run 'TestCheckBackStorm$$' ./order-srv

soak-lock: ## pkg/lock under random faults for SOAK=10m, checked by porcupine; SEED=n repeats a schedule
	@HOLDFAST_SOAK=$(SOAK) HOLDFAST_SOAK_SEED=$(SEED) $(GO) test -race -v -count=1 -timeout=0 -run '^TestSoak$$' ./internal/dev/leasecheck

compose-test: ## run docker-compose.yml on separate ports: restarts, replicas, audit, a crash point, lessons, load tests
	@deploy/compose-test

lessons: build ## run every lesson of docs/lessons, on the stack that is up or on private servers
	@$(BIN) lesson --all

bench: build ## measure whole orders of the shop that is up, beside an empty chain of services; PRESET=standard
	@$(BIN) bench --preset $(or $(PRESET),quick)

scale: build ## measure what an order costs without and with a long history, in two shops of its own; SIZES=1000000,10000000 ROUNDS=2
	@$(BIN) scale --sizes $(or $(SIZES),1000000) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-lock: ## compare pkg/lock with other Redis locks: waits, a burst, commands; check its bars
	@cd tools && $(GO) run ./benchlock

tools: bin/k6 bin/vegeta ## install k6 and vegeta under bin/

bin/k6:
	@GOBIN=$(CURDIR)/bin $(GO) install go.k6.io/k6@$(K6_VERSION)

bin/vegeta:
	@GOBIN=$(CURDIR)/bin $(GO) install github.com/tsenart/vegeta/v12@$(VEGETA_VERSION)

load: build bin/$(TOOL) ## check the shop that is up for overselling; STRATEGY=naive TOOL=vegeta BUYERS= STOCK= RATE=
	@loadtest/$(TOOL)/run

up-mine: build ## start the shop with the strategy of exercise 10, as plain processes; then make load STRATEGY=mine
	@$(GO) build -o bin/mine/ ./cmd/holdfast ./api-gateway ./order-srv
	@cd exercises && $(GO) build -o ../bin/mine/inventory-srv ./cmd/inventory
	@$(MAKE) --no-print-directory down
	@BROKER='$(BROKER)' bin/mine/holdfast up --replicas $(REPLICAS)

compare-mine: ## compare the strategy of exercise 10 with for-update and conditional; PRESET=standard STRATEGIES=buckets,redis-lua or all
	@cd exercises && $(GO) build -o ../bin/mine/compare ./cmd/compare
	@bin/mine/compare -preset $(or $(PRESET),quick) $(if $(STRATEGIES),-strategies $(STRATEGIES))

overload: build ## offer up to 10 times the capacity of the shop that is up, or of its own with OWN=1 [SLOW=KB/s], and check that it recovers; QUICK=1 STRATEGY=
	@$(GO) build -o bin/ ./loadtest/overload
	@bin/overload $(if $(OWN),-own) $(if $(SLOW),-slow $(SLOW)) $(if $(QUICK),-quick) $(if $(STRATEGY),-strategy $(STRATEGY)) $(if $(URL),-url $(URL))

bin/exercises: FORCE
	@$(GO) build -C exercises -o ../bin/exercises ./cmd/exercises

FORCE:

exercises: bin/exercises ## show the exercises: which pass, and what the check of each other one found; JSON=1
	@bin/exercises list $(if $(JSON),--json)

try: bin/exercises ## check an exercise and explain what breaks: EX=4; JSON=1
	@bin/exercises try $(EX) $(if $(JSON),--json)

hint: bin/exercises ## print the next hint of an exercise: EX=3; LEVEL=1 for the first one
	@bin/exercises hint $(EX) $(LEVEL)

watch: bin/exercises ## check the next open exercise, or EX=3, now and whenever its file is saved
	@bin/exercises watch $(EX)

lint: ## golangci-lint, which vets too, and formatting
	@$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) run ./...
	@$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) run --build-tags crashpoint ./pkg/crash
	@cd tools && $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) run ./...
	@cd exercises && $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) run ./...

cross: ## compile the programs for Windows, and type-check everything, its tests too, for Windows and macOS; nothing is run
	@GOOS=windows GOARCH=amd64 $(GO) build -o bin/cross/ ./cmd/holdfast ./api-gateway ./order-srv ./inventory-srv
	@cd tools && $(GO) build -o ../bin/crosscheck ./crosscheck
	@for target in windows/amd64 darwin/arm64; do bin/crosscheck $$target . exercises || exit; done

fmt: ## format the code
	@$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) fmt ./...
	@cd exercises && $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) fmt ./...
