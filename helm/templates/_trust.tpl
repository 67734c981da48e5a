{{/* Where keys and secrets are. */}}

{{- define "torc.caSecret" -}}
{{- if eq .Values.trust.mode "existing" -}}
{{ required "trust.ca.existingSecret is empty: with trust.mode existing, name the Secret with the CA's certificate and key" .Values.trust.ca.existingSecret }}
{{- else -}}
{{ include "torc.fullname" . }}-ca
{{- end -}}
{{- end -}}

{{- define "torc.joinSecret" -}}
{{- if .Values.trust.join.existingSecret -}}
{{ .Values.trust.join.existingSecret }}
{{- else if eq .Values.trust.mode "existing" -}}
{{ fail "trust.join.existingSecret is empty: with trust.mode existing, name the Secret with the join secret" }}
{{- else -}}
{{ include "torc.fullname" . }}-join
{{- end -}}
{{- end -}}

{{- define "torc.operatorSecret" -}}
{{- if .Values.trust.operator.existingSecret -}}
{{ .Values.trust.operator.existingSecret }}
{{- else -}}
{{ fail "trust.operator.existingSecret is empty: runs need an operator's identity; docs/kubernetes.md says how to make the Secret" }}
{{- end -}}
{{- end -}}

{{- define "torc.certificateKey" -}}{{ eq .Values.trust.mode "own" | ternary "ca.crt" .Values.trust.ca.certificateKey }}{{- end -}}
{{- define "torc.privateKeyKey" -}}{{ eq .Values.trust.mode "own" | ternary "ca.key" .Values.trust.ca.privateKeyKey }}{{- end -}}

{{/* The join secret and the CA's certificate; the coordinator alone sees the CA's key. */}}
{{- define "torc.trustVolume" -}}
- name: trust
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "torc.caSecret" .root }}
          items:
            - {key: {{ include "torc.certificateKey" .root }}, path: ca.crt}
            {{- if eq .component "coordinator" }}
            - {key: {{ include "torc.privateKeyKey" .root }}, path: ca.key}
            {{- end }}
      - secret:
          name: {{ include "torc.joinSecret" .root }}
          items:
            - {key: {{ .root.Values.trust.join.key }}, path: join}
{{- end -}}
