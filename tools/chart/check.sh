#!/usr/bin/env bash
# Holds the chart in helm/ to what it promises: helm lint, a suite of tests for each template, and for each helm/ci/*.yaml
# the schemas of Kubernetes and of the custom resources it uses. Needs no cluster; the first run builds the tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CGO_ENABLED=0
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
tool() { go tool -n -modfile="tools/$1/go.mod" "$2"; }

helm=$(tool helm helm)
# Helm reads nothing of the user's and leaves nothing behind.
export HELM_CONFIG_HOME=$out/config HELM_CACHE_HOME=$out/cache HELM_DATA_HOME=$out/data KUBECONFIG=$out/none

# Every template has a suite, every suite a template.
diff <(cd helm/templates && ls -- *.yaml) <(cd helm/tests && ls -- *_test.yaml | sed 's/_test//') ||
	{ echo "helm/templates and helm/tests differ: each template needs a suite of its name"; exit 1; }
"$(tool unittest helm-unittest)" helm

(cd tools/crds && go tool controller-gen crd:ignoreUnexportedFields=true,allowDangerousTypes=true \
	paths=github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1 \
	paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1 output:crd:dir="$out/crds")
# kubectl-validate takes what it knows nothing of for an error, so nothing passes unseen.
validate=$(tool validate kubectl-validate)
mkdir "$out/rendered"
for values in helm/ci/*.yaml; do
	name=$(basename "$values")
	"$helm" lint --strict --quiet helm --values "$values"
	"$helm" template torc helm --namespace ml --values "$values" >"$out/rendered/$name"
	"$helm" install torc helm --namespace ml --values "$values" --dry-run=client >"$out/notes" || exit 1
	grep -q 'coordinator nodes' "$out/notes" || { echo "$values: the notes do not say what to do next"; exit 1; }
done
"$validate" --version 1.30 --local-crds "$out/crds" "$out"/rendered/*.yaml
"$validate" --version 1.27 --local-crds "$out/crds" "$out"/rendered/*.yaml >"$out/oldest" 2>&1 || { cat "$out/oldest"; exit 1; } # Chart.yaml's kubeVersion

# The programs have the commands and flags that the templates give them.
go build -o "$out/bin/" ./coordinator ./node
flags() { grep -oE -- '- --[a-z][a-z-]*' "$1" | sort -u | cut -c 5-; }
for use in "coordinator.yaml coordinator serve" "nodes.yaml node join" "runs.yaml coordinator launch"; do
	read -r template program command <<<"$use"
	"$out/bin/$program" "$command" --help >"$out/help" 2>&1
	for flag in $(flags "helm/templates/$template"); do
		grep -q -- "--$flag\b" "$out/help" || { echo "$template: $program $command has no flag --$flag"; exit 1; }
	done
done

# The programs take what the chart makes: a coordinator with its CA, a node with its join secret.
"$helm" template torc helm --show-only templates/trust-secrets.yaml >"$out/secrets"
mkdir "$out/trust"
for key in ca.crt ca.key secret; do
	sed -n "s/^  $key: //p" "$out/secrets" | base64 -d >"$out/trust/$key"
done
exec 3< <(TORC_HOME=$out/coordinator exec "$out/bin/coordinator" serve --listen=127.0.0.1:0 --ca="$out/trust" --pool-token="$out/trust/secret" 2>&1)
pids=$!
trap 'kill $pids 2>/dev/null || true; rm -rf "$out"' EXIT
addr=$(sed -n '/coordinator serves/{s/.* addr=\([^ ]*\).*/\1/p;q}' <&3)
exec 4< <(TORC_HOME=$out/node TORC_THREADS=1 exec "$out/bin/node" join "$addr" --name=torc-default-0 --ca="$out/trust/ca.crt" --pool-token="$out/trust/secret" 2>&1)
pids="$pids $!"
grep -m1 'msg=joined' <&4 || { echo "a node cannot join with what the chart makes"; exit 1; }
TORC_HOME=$out/coordinator "$out/bin/coordinator" nodes --coordinator "$addr" --json | grep -q '"torc-default-0"' || { echo "the node is not listed"; exit 1; }

# What must not pass: each line is a value that the schema refuses, and a word that its message has.
while IFS='|' read -r set want; do
	if "$helm" template torc helm --set "$set" >"$out/bad" 2>&1; then
		echo "--set $set: accepted, want it refused"; exit 1
	fi
	grep -q -- "$want" "$out/bad" || { echo "--set $set: the message lacks '$want':"; cat "$out/bad"; exit 1; }
done <<'BAD'
coordinater.persistence.size=1Gi|coordinater
trust.mode=none|trust/mode
trust.mode=existing|existingSecret
nodePools.default.gpus=-1|gpus
nodePools.default.gpu=1|gpu
nodePools.GPU.replicas=1|GPU
nodePools.default.persistence.size=lots|size
ports.rpc=70000|ports/rpc
image.pullPolicy=Sometimes|pullPolicy
nodePools.default.image.digest=sha256:12|digest
sharedVolumes[0].name=m|mountPath
podDisruptionBudget.nodes.maxUnavailable=half|maxUnavailable
BAD
echo "chart: $(ls helm/ci/*.yaml | wc -l) value files hold"
