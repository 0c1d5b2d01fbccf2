{{- define "entrepot.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "entrepot.selector" -}}
app.kubernetes.io/name: entrepot
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "entrepot.labels" -}}
{{ include "entrepot.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "entrepot.config" -}}
{{- if not (or (dig "upstream" "url" "" .Values.config) (dig "upstreams" "" .Values.config)) -}}
{{- fail "config.upstream.url (or config.upstreams) is missing: the registry to mirror, with its path but without /v2" -}}
{{- end -}}
{{- toYaml .Values.config -}}
{{- end }}
