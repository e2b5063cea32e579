{{- /* What the operator may do in a namespace it serves; every verb here is one that it uses. */}}
{{- define "mutt-operator.namespaceRules" -}}
# The pipelines and rules themselves: read only, the operator writes nothing of their spec.
- apiGroups: [mutt.dev]
  resources: [muttpipelines, alertrules]
  verbs: [list, watch]
# Conditions, components and counts are reported in the status.
- apiGroups: [mutt.dev]
  resources: [muttpipelines/status, alertrules/status]
  verbs: [patch]
# No finalizer is ever set. OpenShift (OwnerReferencesPermissionEnforcement) asks for this where an owner reference blocks the owner's deletion.
- apiGroups: [mutt.dev]
  resources: [muttpipelines/finalizers, alertrules/finalizers]
  verbs: [update]
# Only to look whether the Secrets and keys exist that a pipeline names, and to log in to its Redis. By name: never listed, never watched.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# Why a Deployment or Job does not get ready stands in its pods.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# Children of a pipeline: the account of its pods, its Services, and ConfigMaps with settings and with the readable copy of the rules.
- apiGroups: [""]
  resources: [serviceaccounts, services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Children of a pipeline: one Deployment per role.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# Children of a pipeline: the Job for the database schema, the CronJob for partitions and retention.
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [get, list, watch, create, patch, delete]
# Children of a pipeline: autoscaling. Those of others are listed before one is made: never two on one Deployment.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# Children of a pipeline where KEDA is installed.
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
# Children of a pipeline: a drained node must not take the last pod of a role.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Children of a pipeline: who may reach its pods, and the way in from outside.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, delete]
# Children of a pipeline on OpenShift: the way in from outside.
- apiGroups: [route.openshift.io]
  resources: [routes]
  verbs: [get, list, watch, create, patch, delete]
# OpenShift asks for this where a Route names its own host or certificate.
- apiGroups: [route.openshift.io]
  resources: [routes/custom-host]
  verbs: [create, update]
# Children of a pipeline where the Prometheus operator is installed.
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
# Events on pipelines and rules say what happened.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- /* What needs the whole cluster; only there when all namespaces are served. */}}
{{- define "mutt-operator.clusterRules" -}}
# `ruleNamespaceSelector` chooses namespaces by their labels.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}

{{- /* In each of `watchNamespaces`, in place of the above. */}}
{{- define "mutt-operator.ownNamespaceRules" -}}
# `ruleNamespaceSelector` chooses namespaces by their labels: of this one only, it cannot be listed.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}

{{- /* In the operator's own namespace. */}}
{{- define "mutt-operator.leaderRules" -}}
# The Lease of the leader; `create` cannot be limited to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "mutt-operator.fullname" . }}]
  verbs: [get, update]
# An Event on the Lease says who leads.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- /* Where external.metrics.k8s.io is served: what needs the whole cluster. Its ClusterRole owns the APIService, too. */}}
{{- define "mutt-operator.externalMetricsRules" -}}
# The APIService is made while a pipeline wants it and nobody else has it, kept right, and deleted; `create` cannot be limited to a name.
- apiGroups: [apiregistration.k8s.io]
  resources: [apiservices]
  verbs: [create]
- apiGroups: [apiregistration.k8s.io]
  resources: [apiservices]
  resourceNames: [v1beta1.external.metrics.k8s.io]
  verbs: [list, watch, patch, delete]
# APIService and Secret name this role as their owner, by its UID: uninstalled, it takes them along.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: ["{{ include "mutt-operator.externalMetricsOwner" . }}"]
  verbs: [get]
# Who asks for a metric with a token and not through the API server is looked up.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
# Whoever asks for a metric must be allowed to: the API server is asked.
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}

{{- /* Where external.metrics.k8s.io is served: in the operator's own namespace. */}}
{{- define "mutt-operator.externalMetricsSecretRules" -}}
{{- $secret := include "mutt-operator.externalMetricsSecret" . }}
{{- if eq .Values.externalMetrics.certificate.source "own" }}
# The serving certificate is made by the operator, renewed, and read by every replica; `create` cannot be limited to a name.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ $secret }}]
  verbs: [get, update]
{{- else }}
# The serving certificate, which {{ .Values.externalMetrics.certificate.source }} makes, is read by every replica.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ $secret }}]
  verbs: [get]
{{- end }}
{{- end }}

{{- /* For the controller of HorizontalPodAutoscalers. */}}
{{- define "mutt-operator.externalMetricsReaderRules" -}}
# It asks for the depth and the age of a queue in the HorizontalPodAutoscaler's namespace.
- apiGroups: [external.metrics.k8s.io]
  resources: [mutt_queue_depth, mutt_queue_oldest_age_seconds]
  verbs: [get, list]
{{- end }}
