{{/* What the pods of all components have in common. */}}

{{/* Fields of a pod's spec: no API access, no environment variables made of services, nothing as root. */}}
{{- define "torc.pod" -}}
serviceAccountName: {{ include "torc.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .spec.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .spec.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .spec.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spec.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spec.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels and annotations of a pod. No versions among them: a new chart must not restart pods whose image stays. */}}
{{- define "torc.podMetadata" -}}
labels:
  {{- include "torc.selector" . | nindent 2 }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .pool }}
  torc/pool: {{ . }}
  {{- end }}
  {{- with .spec.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $notes := merge (dict) (.checksums | default dict) (.spec.podAnnotations | default dict) .root.Values.commonAnnotations }}
{{- with $notes }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "torc.sharedMounts" -}}
{{- range .Values.sharedVolumes }}
- name: shared-{{ .name }}
  mountPath: {{ .mountPath }}
  readOnly: {{ dig "readOnly" true . }}
{{- end }}
{{- end -}}

{{- define "torc.sharedVolumes" -}}
{{- range .Values.sharedVolumes }}
- name: shared-{{ .name }}
  {{- toYaml .source | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The volume "state": a claim of the StatefulSet, or a directory that dies with the pod. */}}
{{- define "torc.stateVolume" -}}
{{- if not .persistence.enabled }}
- name: state
  emptyDir: {sizeLimit: {{ .persistence.size }}}
{{- end }}
{{- end -}}

{{- define "torc.stateClaim" -}}
{{- if .persistence.enabled }}
persistentVolumeClaimRetentionPolicy:
  {{- toYaml .persistence.retain | nindent 2 }}
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: state
      labels:
        {{- include "torc.selector" . | nindent 8 }}
    spec:
      accessModes:
        {{- toYaml .persistence.accessModes | nindent 8 }}
      {{- with .persistence.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ .persistence.size }}
{{- end }}
{{- end -}}
