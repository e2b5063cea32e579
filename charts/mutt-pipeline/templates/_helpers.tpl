{{- define "mutt-pipeline.name" -}}
{{- .Values.pipeline.name | default .Release.Name }}
{{- end }}

{{- define "mutt-pipeline.labels" -}}
app.kubernetes.io/name: mutt-pipeline
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: mutt
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What the rules carry, and what the pipeline selects by unless its spec says otherwise. */}}
{{- define "mutt-pipeline.ruleLabels" -}}
{{- toYaml (.Values.ruleLabels | default (dict "pipeline" (include "mutt-pipeline.name" .))) }}
{{- end }}
