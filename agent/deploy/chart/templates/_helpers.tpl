{{- define "hopsight.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "hopsight.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "hopsight.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Name of what belongs to the cluster and not to a namespace. Two releases may have one name in
two namespaces; no namespace contains a dot. */}}
{{- define "hopsight.clusterName" -}}
{{- printf "%s.%s" .Release.Namespace (include "hopsight.fullname" .) }}
{{- end }}

{{- define "hopsight.selectorLabels" -}}
app.kubernetes.io/name: {{ include "hopsight.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the pods of the fleet, which are no agents. */}}
{{- define "hopsight.fleetLabels" -}}
app.kubernetes.io/name: {{ include "hopsight.name" . }}-fleet
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hopsight.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "hopsight.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "hopsight.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "hopsight.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "hopsight.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The user the agent becomes; 0 where it stays root. */}}
{{- define "hopsight.user" -}}
{{- ternary 0 (int .Values.user) .Values.criSocket.enabled }}
{{- end }}

{{- define "hopsight.seLinuxOptions" -}}
{{- if .Values.seLinuxOptions }}
{{- toYaml .Values.seLinuxOptions }}
{{- else if .Values.openshift.securityContextConstraints }}
{{- toYaml (dict "type" "spc_t") }}
{{- end }}
{{- end }}

{{- define "hopsight.priorityClassName" -}}
{{- if .Values.priorityClassName }}
{{- .Values.priorityClassName }}
{{- else if .Values.priorityClass.create }}
{{- include "hopsight.clusterName" . }}
{{- end }}
{{- end }}

{{/* A value of TOML. Helm's numbers are floats, also where they are whole. */}}
{{- define "hopsight.tomlValue" -}}
{{- if kindIs "float64" . }}
{{- ternary (printf "%.0f" .) (printf "%v" .) (eq . (floor .)) }}
{{- else }}
{{- toJson . }}
{{- end }}
{{- end }}

{{/* A section of TOML and the sections in it: takes (list NAME MAP). */}}
{{- define "hopsight.tomlSection" -}}
{{- $name := index . 0 }}
{{- $map := index . 1 -}}
[{{ $name }}]
{{ range $key, $value := $map }}
{{- if not (kindIs "map" $value) -}}
{{ $key }} = {{ include "hopsight.tomlValue" $value }}
{{ end }}
{{- end }}
{{- range $key, $value := $map }}
{{- if kindIs "map" $value -}}
{{ include "hopsight.tomlSection" (list (printf "%s.%s" $name $key) $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A table of the policy file: takes (list NAME MAP). JSON's strings, numbers, booleans and lists of
them are TOML's as well; a date has no quotes there. */}}
{{- define "hopsight.policyTable" -}}
{{- $name := index . 0 }}
[[{{ $name }}]]
{{ range $key, $value := index . 1 }}
{{- if kindIs "map" $value }}
{{- range $of, $what := $value -}}
{{ $key }}.{{ $of }} = {{ toJson $what }}
{{ end }}
{{- else if and (eq $name "exempt") (eq $key "until") -}}
{{ $key }} = {{ $value }}
{{ else -}}
{{ $key }} = {{ toJson $value }}
{{ end }}
{{- end }}
{{- end }}

{{/* policy.toml: as it was given, or written from YAML. */}}
{{- define "hopsight.policy" -}}
{{- if kindIs "string" .Values.policy }}
{{- .Values.policy }}
{{- else }}
{{- range .Values.policy.policies }}{{ include "hopsight.policyTable" (list "policies" .) }}{{ end }}
{{- range .Values.policy.exempt }}{{ include "hopsight.policyTable" (list "exempt" .) }}{{ end }}
{{- end }}
{{- end }}

{{/* hopsight.toml: the values' and what other values mean; empty if there is nothing to say. */}}
{{- define "hopsight.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $kubernetes := dict }}
{{- range $key, $default := dict "enabled" true "services" false "gateway" false "mesh" false }}
{{- if ne (index $.Values.kubernetes $key) $default }}
{{- $_ := set $kubernetes $key (index $.Values.kubernetes $key) }}
{{- end }}
{{- end }}
{{- if $kubernetes }}{{ $config = mergeOverwrite $config (dict "kubernetes" $kubernetes) }}{{ end }}
{{- if .Values.criSocket.enabled }}
{{- $config = mergeOverwrite $config (dict "cri" (dict "socket" .Values.criSocket.path)) }}
{{- end }}
{{- if ne (int .Values.otlp.metricsIntervalSeconds) 60 }}
{{- $interval := dict "metrics_interval_seconds" .Values.otlp.metricsIntervalSeconds }}
{{- $config = mergeOverwrite $config (dict "otlp" $interval) }}
{{- end }}
{{- if ne .Values.otlp.protocol "http/protobuf" }}
{{- $config = mergeOverwrite $config (dict "otlp" (dict "protocol" .Values.otlp.protocol)) }}
{{- end }}
{{- range $name, $section := $config }}
{{- include "hopsight.tomlSection" (list $name $section) }}
{{- end }}
{{- end }}

{{- define "hopsight.capabilities" -}}
{{- $caps := .Values.capabilities }}
{{- $add := concat $caps.base $caps.extra }}
{{- if ne (include "hopsight.user" .) "0" }}{{ $add = concat $add $caps.user }}{{ end }}
{{- if .Values.libraryProbes }}{{ $add = concat $add $caps.libraryProbes }}{{ end }}
{{- toYaml (uniq $add) }}
{{- end }}

{{- define "hopsight.endpoint" -}}
{{- $monitor := .monitor -}}
port: http
path: /metrics
interval: {{ $monitor.interval }}
scrapeTimeout: {{ $monitor.scrapeTimeout }}
{{- if .root.Values.http.tls.secretName }}
scheme: https
{{- with $monitor.tlsConfig }}
tlsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
relabelings:
  # Agents are told apart by node: pods come and go.
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: instance
  {{- with $monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $monitor.metricRelabelings }}
metricRelabelings: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
