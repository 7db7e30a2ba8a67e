{{- define "portcullis.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "portcullis.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains (include "portcullis.name" .) .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "portcullis.name" .) | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "portcullis.selectorLabels" -}}
app.kubernetes.io/name: {{ include "portcullis.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "portcullis.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "portcullis.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name the ServiceAccount to use, or set serviceAccount.create" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "portcullis.image" -}}
{{- $repository := required "image.repository: name the image you built from deploy/docker/Dockerfile" .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "portcullis.tlsSecretName" -}}
{{- if and .Values.tls.secretName .Values.tls.certManager.enabled }}
{{- fail "tls: set either secretName or certManager.enabled" }}
{{- else if .Values.tls.certManager.enabled }}
{{- printf "%s-tls" (include "portcullis.fullname" .) }}
{{- else }}
{{- required "tls: set secretName to a Secret of type kubernetes.io/tls, or certManager.enabled" .Values.tls.secretName }}
{{- end }}
{{- end }}

{{/* "true" when a cluster is reached with the pod's own service account. */}}
{{- define "portcullis.inCluster" -}}
{{- range .Values.config.clusters }}{{ if hasKey . "inCluster" }}true{{ end }}{{ end }}
{{- end }}

{{/* gateway.yaml: the user's configuration, and over it what the chart must own. Paths are relative to the file. */}}
{{- /* Tokens and cookies are sent to the control port as soon as people use it: then it has the listener's certificate. */ -}}
{{- define "portcullis.controlHasTls" -}}
{{- if .Values.config.control }}true{{ end }}
{{- end }}

{{/* Fails where a path of the configuration is on no volume: what is written there would be lost with the pod. */}}
{{- define "portcullis.outlivesThePod" -}}
{{- $path := clean .path }}
{{- $kept := list "/var/lib/portcullis" }}
{{- range .Values.extraVolumeMounts }}
{{- $kept = append $kept (clean .mountPath) }}
{{- end }}
{{- $found := false }}
{{- range $kept }}
{{- if hasPrefix (printf "%s/" .) $path }}
{{- $found = true }}
{{- end }}
{{- end }}
{{- if not $found }}
{{- fail (printf "%s: %s would be lost with the pod; leave it out, or name a place in /var/lib/portcullis or below one of extraVolumeMounts" .key .path) }}
{{- end }}
{{- end }}

{{- define "portcullis.config" -}}
{{- with (.Values.config.audit | default dict).file }}
{{- if not (has . (list "/dev/stdout" "/dev/stderr")) }}
{{- include "portcullis.outlivesThePod" (dict "key" "config.audit.file" "path" . "Values" $.Values) }}
{{- end }}
{{- end }}
{{- with (.Values.config.recording | default dict).directory }}
{{- include "portcullis.outlivesThePod" (dict "key" "config.recording.directory" "path" . "Values" $.Values) }}
{{- end }}
{{- if not .Values.config.authentication.jwt }}
{{- fail "config.authentication.jwt: name at least one OIDC issuer; docs/install.md has examples" }}
{{- end }}
{{- $files := list }}
{{- range $name := keys .Values.policies.files | sortAlpha }}
{{- $files = append $files (printf "policies/%s" $name) }}
{{- end }}
{{- range .Values.policies.profiles }}
{{- $files = append $files (printf "policies/%s.yaml" .) }}
{{- end }}
{{- $control := dict "address" "0.0.0.0:9090" }}
{{- if include "portcullis.controlHasTls" . }}
{{- $_ := set $control "tls" (dict "certificateFile" "tls/tls.crt" "privateKeyFile" "tls/tls.key") }}
{{- end }}
{{- $own := dict
  "apiVersion" "portcullis.dev/v1alpha1"
  "kind" "GatewayConfiguration"
  "dataDirectory" "/var/lib/portcullis"
  "listener" (dict
    "address" "0.0.0.0:8443"
    "drainTimeout" (printf "%ds" (int .Values.drainSeconds))
    "tls" (dict "certificateFile" "tls/tls.crt" "privateKeyFile" "tls/tls.key"))
  "control" $control
  "authentication" (dict "revocationFile" "policies/revoked.yaml")
  "policy" (dict "files" $files) }}
{{- mergeOverwrite (deepCopy .Values.config) $own | toYaml }}
{{- end }}
