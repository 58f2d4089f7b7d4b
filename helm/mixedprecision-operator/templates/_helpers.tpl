{{- define "mpj.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "mpj.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains (include "mpj.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "mpj.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Cluster-scoped objects carry the namespace too, so that two releases of one name do not meet. */ -}}
{{- define "mpj.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "mpj.fullname" .) }}
{{- end }}

{{- define "mpj.serviceAccount" -}}
{{- default (ternary (include "mpj.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "mpj.selector" -}}
app.kubernetes.io/name: {{ include "mpj.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mpj.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
{{ include "mpj.selector" . }}
{{- end }}

{{- /* An image of a values' block: registry/repository@digest, or :tag. */ -}}
{{- define "mpj.image" -}}
{{- with .image.registry }}{{ . }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ default .appVersion .image.tag }}{{ end }}
{{- end }}

{{- define "mpj.operatorImage" -}}
{{- include "mpj.image" (dict "image" .Values.image "appVersion" .Chart.AppVersion) }}
{{- end }}

{{- define "mpj.jobImage" -}}
{{- include "mpj.image" (dict "image" .Values.jobImage "appVersion" .Chart.AppVersion) }}
{{- end }}

{{- /* The restricted profile of Pod Security; no value can weaken it. */ -}}
{{- define "mpj.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.podSecurityContext }}
{{- with .runAsUser }}
runAsUser: {{ int . }}
{{- end }}
{{- with .runAsGroup }}
runAsGroup: {{ int . }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "mpj.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* What the operator does in the namespaces that it watches; a test holds it against its calls. */ -}}
{{- define "mpj.rules" -}}
- apiGroups: [mixedprecision.dev]
  resources: [mixedprecisionjobs]
  verbs: [get, list, watch]
- apiGroups: [mixedprecision.dev]
  resources: [mixedprecisionjobs/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create]
{{- end }}

{{- define "mpj.subjects" -}}
- kind: ServiceAccount
  name: {{ include "mpj.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* The seconds of a duration such as 1m30s. */ -}}
{{- define "mpj.seconds" -}}
{{- $seconds := 0 }}
{{- range regexFindAll "[0-9]+[hms]" . -1 }}
{{- $seconds = add $seconds (mul (atoi (regexFind "[0-9]+" .)) (get (dict "h" 3600 "m" 60 "s" 1) (regexFind "[hms]" .))) }}
{{- end }}
{{- $seconds }}
{{- end }}

{{- /* Values that are right one by one and wrong together. */ -}}
{{- define "mpj.check" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.leaderElection.enabled) }}
{{- fail (printf "replicas is %d: set leaderElection.enabled to true, so that one works and the others stand by" (int .Values.replicas)) }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.service.enabled) }}
{{- fail "metrics.serviceMonitor.enabled needs service.enabled: Prometheus asks through the Service" }}
{{- end }}
{{- if and .Values.rbac.create (eq (include "mpj.serviceAccount" .) "default") }}
{{- fail (printf "rbac.create would give the operator's rights to the ServiceAccount default, and so to every pod in %s that names none: set serviceAccount.name to an account of the operator's own, or serviceAccount.create to true" .Release.Namespace) }}
{{- end }}
{{- with .Values.metrics.serviceMonitor }}
{{- if and .enabled .interval .scrapeTimeout }}
{{- if gt (include "mpj.seconds" .scrapeTimeout | atoi) (include "mpj.seconds" .interval | atoi) }}
{{- fail (printf "metrics.serviceMonitor.scrapeTimeout is %s: set it to at most interval, %s; Prometheus refuses a longer one" .scrapeTimeout .interval) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
