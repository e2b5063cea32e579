{{- define "mutt-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- /* 50 characters leave room for the suffixes of names. */}}
{{- define "mutt-operator.fullname" -}}
{{- $name := include "mutt-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "mutt-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mutt-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "mutt-operator.labels" -}}
{{ include "mutt-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: mutt
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* metadata of an object: list of context, name suffix, and optionally further labels and annotations. */}}
{{- define "mutt-operator.metadata" -}}
{{- $context := .context -}}
name: {{ .name | default (printf "%s%s" (include "mutt-operator.fullname" $context) (.suffix | default "")) }}
namespace: {{ .namespace | default $context.Release.Namespace }}
labels:
  {{- include "mutt-operator.labels" $context | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) ($context.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "mutt-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "mutt-operator.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- /* Reference of an image: dict of context and image. */}}
{{- define "mutt-operator.image" -}}
{{- $registry := .context.Values.global.imageRegistry | default .image.registry }}
{{- with $registry }}{{ . }}/{{ end }}
{{- .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .context.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "mutt-operator.imagePullSecrets" -}}
{{- with concat (.Values.global.imagePullSecrets | default list) (.Values.imagePullSecrets | default list) -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Arguments that the Deployment and the check of `helm test` have in common. */}}
{{- define "mutt-operator.arguments" -}}
- --leader-election={{ .Values.leaderElection.enabled }}
- --lease-name={{ include "mutt-operator.fullname" . }}
{{- range .Values.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
- --log-level={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
{{- end }}

{{- /* "true" where external.metrics.k8s.io is served, else nothing. */}}
{{- define "mutt-operator.externalMetrics" -}}
{{- $enabled := .Values.externalMetrics.enabled }}
{{- if kindIs "bool" $enabled }}
{{- if $enabled }}true{{ end }}
{{- else if and .Values.rbac.create (not .Values.watchNamespaces) }}true{{ end }}
{{- end }}

{{- /* A Service's name has 63 characters at most. */}}
{{- define "mutt-operator.externalMetricsName" -}}
{{- printf "%s-external-metrics" (include "mutt-operator.fullname" . | trunc 46 | trimSuffix "-") }}
{{- end }}

{{- /* One name per source: what one has made must not be in another's way. */}}
{{- define "mutt-operator.externalMetricsSecret" -}}
{{- $source := .Values.externalMetrics.certificate.source }}
{{- printf "%s%s" (include "mutt-operator.externalMetricsName" .) (ternary "" (printf "-%s" $source) (eq $source "own")) }}
{{- end }}

{{- /* The ClusterRole that takes the APIService along when it goes. */}}
{{- define "mutt-operator.externalMetricsOwner" -}}
{{- if .Values.rbac.create }}
{{- include "mutt-operator.externalMetricsName" . }}
{{- else if .Values.externalMetrics.clusterRole }}
{{- .Values.externalMetrics.clusterRole }}
{{- else }}
{{- fail "externalMetrics.enabled=true with rbac.create=false needs externalMetrics.clusterRole: without an owner the APIService would outlive the release" }}
{{- end }}
{{- end }}

{{- define "mutt-operator.externalMetricsArguments" -}}
{{- if include "mutt-operator.externalMetrics" . -}}
- --external-metrics=true
- --external-metrics-port={{ .Values.externalMetrics.port }}
- --external-metrics-service={{ include "mutt-operator.externalMetricsName" . }}
- --external-metrics-cluster-role={{ include "mutt-operator.externalMetricsOwner" . }}
- --external-metrics-certificate={{ .Values.externalMetrics.certificate.source }}
- --external-metrics-secret={{ include "mutt-operator.externalMetricsSecret" . }}
{{- else -}}
- --external-metrics=false
{{- if and .Values.externalMetrics.clusterRole (not .Values.rbac.create) }}
# What it may have made is owned by a role that stays: the operator takes it away.
- --external-metrics-service={{ include "mutt-operator.externalMetricsName" . }}
- --external-metrics-cluster-role={{ include "mutt-operator.externalMetricsOwner" . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "mutt-operator.podIdentity" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- end }}

{{- /* The page with a section for each alert, as the dashboards name it. */}}
{{- define "mutt-operator.runbooksFile" -}}
manifests/prometheus/runbooks.md
{{- end }}

{{- /* Where it can be read; the operator does the same for the alerts of pipelines. */}}
{{- define "mutt-operator.runbooks" -}}
{{- with .Values.metrics.prometheusRule.runbookBaseUrl }}{{ trimSuffix "/" . }}/{{ end }}
{{- include "mutt-operator.runbooksFile" . }}
{{- end }}
