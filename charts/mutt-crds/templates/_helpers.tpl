{{- define "mutt-crds.labels" -}}
app.kubernetes.io/name: mutt-crds
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: mutt
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Empty when there are none: an empty `annotations` would differ from what the API server gives back. */}}
{{- define "mutt-crds.annotations" -}}
{{- $annotations := dict }}
{{- if .Values.crds.keep }}
{{- $annotations = dict "helm.sh/resource-policy" "keep" }}
{{- end }}
{{- with merge $annotations (.Values.crds.annotations | default dict) }}
{{- toYaml . }}
{{- end }}
{{- end }}
