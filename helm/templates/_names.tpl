{{/* Names, labels and images. */}}

{{- define "torc.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that a pool's pods stay below the 63 of a host name and of a torc node. */}}
{{- define "torc.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "torc.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "torc.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "torc.coordinator" -}}{{ include "torc.fullname" . }}-coordinator{{- end -}}
{{- define "torc.nodes" -}}{{ include "torc.fullname" . }}-nodes{{- end -}}

{{/* Address of the coordinator inside the cluster. */}}
{{- define "torc.address" -}}
{{ include "torc.coordinator" . }}.{{ .Release.Namespace }}.svc:{{ .Values.ports.rpc }}
{{- end -}}

{{- define "torc.selector" -}}
app.kubernetes.io/name: {{ include "torc.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "torc.labels" -}}
{{ include "torc.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata but the name: call with root and component, annotations as a map if there are any. */}}
{{- define "torc.metadata" -}}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "torc.labels" . | nindent 2 }}
{{- $notes := merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
{{- with $notes }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "torc.image" -}}
{{- $image := .image -}}
{{- $name := $image.repository -}}
{{- with .root.Values.image.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ $image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "torc.serviceAccount" -}}
{{- if .root.Values.serviceAccounts.create -}}
{{ include "torc.fullname" .root }}-{{ .component }}
{{- else -}}
{{ .root.Values.serviceAccounts.name | default "default" }}
{{- end -}}
{{- end -}}
