// Package crds keeps the Go types of others' custom resources within reach of controller-gen, which makes of them the
// schemas that the chart is held to (tools/chart/check.sh).
package crds

import (
	_ "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"              // Certificate, Issuer
	_ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1" // ServiceMonitor
)
