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
# Children of a pipeline: autoscaling on CPU.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
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
