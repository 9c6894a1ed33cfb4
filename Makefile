# The commands of the project. Everything they need beyond Go, gcc, make and
# npm they fetch themselves, into .cache.

GO      ?= go
TIMEOUT ?= 20m
LINTER  := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.DEFAULT_GOAL := help
.PHONY: help onnxruntime build test demo gradients lint clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

onnxruntime: ## Fetch ONNX Runtime into .cache and check its digests
	@$(GO) run ./internal/ort/fetch

build: ## Build bin/nuwa
	$(GO) build -o bin/nuwa ./cmd/nuwa

test: onnxruntime ## Vet and test every package
	$(GO) vet ./...
	$(GO) test -timeout $(TIMEOUT) ./...

demo: onnxruntime build ## Derive a slim model from the shipped ViT and compare the two
	bin/nuwa demo

gradients: onnxruntime ## Print how far gradients are from finite differences: every rule, every model
	$(GO) test ./internal/grad -count 1 -run 'TestRules$$|TestModels$$' -v | sed -n '/^ *#/p;/^ *|/p'

lint: ## Check formatting and run the linters
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not formatted:"; echo "$$unformatted"; exit 1; }
	$(GO) run $(LINTER) run ./...

clean: ## Remove what was built and fetched
	rm -rf bin .cache
