//! Kubeconfig files: one context becomes [`Material`]; every problem is named by file and field.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{Files, Material, Problem, Server};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    current_context: Option<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    #[serde(default)]
    server: String,
    tls_server_name: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<Secret>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
    #[serde(rename = "as")]
    impersonate: Option<String>,
    as_uid: Option<String>,
    as_groups: Option<serde::de::IgnoredAny>,
    as_user_extra: Option<serde::de::IgnoredAny>,
}

/// A value that is wiped and does not print.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Secret(SecretString);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// Reads `context` (or the current one) of the kubeconfig `file`.
pub(super) fn read(
    file: &Path,
    context: Option<&str>,
    files: &mut Files,
) -> Result<Material, Vec<Problem>> {
    let one = |field: &str, message: String| vec![Problem::new(file, field, message)];
    let bytes = files.read(file).map_err(|problem| vec![problem])?;
    let text = std::str::from_utf8(&bytes).map_err(|_| one("", "is not UTF-8 text".to_owned()))?;
    let config: Kubeconfig = parse(text).map_err(|place| {
        one(
            "",
            format!("is not a kubeconfig: YAML does not fit at {place}"),
        )
    })?;

    let wanted = context.filter(|name| !name.is_empty());
    let name = wanted
        .or(config.current_context.as_deref())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| one("current-context", "is not set; name a context".to_owned()))?;
    let context = config.contexts.iter().find(|entry| entry.name == name);
    let context = &context
        .ok_or_else(|| one("contexts", format!("has no context `{name}`")))?
        .context;
    let cluster = config
        .clusters
        .iter()
        .find(|entry| entry.name == context.cluster);
    let user = config.users.iter().find(|entry| entry.name == context.user);

    let mut reader = Reader {
        file,
        files,
        problems: Vec::new(),
    };
    let missing =
        |kind: &str, name: &str| format!("has no {kind} `{name}`, which the context names");
    if cluster.is_none() {
        reader.problem("clusters", missing("cluster", &context.cluster));
    }
    if user.is_none() {
        reader.problem("users", missing("user", &context.user));
    }
    let none = User::default();
    let material = cluster.and_then(|cluster| {
        let user = user.and_then(|entry| entry.user.as_ref()).unwrap_or(&none);
        reader.material(&cluster.cluster, user)
    });
    match material {
        Some(material) if reader.problems.is_empty() => Ok(material),
        _ => Err(reader.problems),
    }
}

/// The error holds a place only: the text around it may be a credential.
fn parse(text: &str) -> Result<Kubeconfig, String> {
    serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(location) => format!("line {}, column {}", location.line(), location.column()),
        None => "an unknown line".to_owned(),
    })
}

struct Reader<'a> {
    file: &'a Path,
    files: &'a mut Files,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(self.file, field, message));
    }

    fn material(&mut self, cluster: &Cluster, user: &User) -> Option<Material> {
        if cluster
            .proxy_url
            .as_deref()
            .is_some_and(|url| !url.is_empty())
        {
            self.problem(
                "cluster.proxy-url",
                "is not supported: the gateway connects directly",
            );
        }
        let server = match Server::parse(&cluster.server, cluster.tls_server_name.as_deref()) {
            Ok(server) => Some(server),
            Err(message) => {
                self.problem("cluster.server", message);
                None
            }
        };
        let authority = self.pem(
            (
                "cluster.certificate-authority-data",
                cluster.certificate_authority_data.as_deref(),
            ),
            (
                "cluster.certificate-authority",
                cluster.certificate_authority.as_deref(),
            ),
        );
        self.refuse_unsupported(user);
        let token = self.token(user);
        let client_certificate = self.client_certificate(user);
        if self.problems.is_empty() && token.is_none() && client_certificate.is_none() {
            self.problem(
                "user",
                "has no credential: give a token, a tokenFile or a client certificate",
            );
        }
        Some(Material {
            server: server?,
            authority,
            insecure: cluster.insecure_skip_tls_verify,
            token,
            client_certificate,
        })
    }

    /// What would run a program, ask a provider, or add a second identity.
    fn refuse_unsupported(&mut self, user: &User) {
        let unsupported = [
            (
                user.exec.is_some(),
                "user.exec",
                "credential plugins are not run by the gateway; give a token, a tokenFile or a client certificate",
            ),
            (
                user.auth_provider.is_some(),
                "user.auth-provider",
                "authentication providers were removed from Kubernetes; give a token, a tokenFile or a client certificate",
            ),
            (
                user.username.is_some() || user.password.is_some(),
                "user.username",
                "basic authentication was removed from Kubernetes; give a token, a tokenFile or a client certificate",
            ),
            (
                user.impersonate.is_some()
                    || user.as_uid.is_some()
                    || user.as_groups.is_some()
                    || user.as_user_extra.is_some(),
                "user.as",
                "the gateway impersonates its own callers; its credential must not impersonate anybody by itself",
            ),
        ];
        for (present, field, message) in unsupported {
            if present {
                self.problem(field, message);
            }
        }
    }

    fn token(&mut self, user: &User) -> Option<SecretString> {
        // As client-go: the file wins, because it is the one that is rotated.
        if let Some(path) = user.token_file.as_deref().filter(|path| !path.is_empty()) {
            let path = self.resolve(path);
            return match self.files.read_token(&path) {
                Ok(token) => Some(token),
                Err(problem) => {
                    self.problems.push(problem);
                    None
                }
            };
        }
        user.token
            .as_ref()
            .map(|token| token.0.clone())
            .filter(|token| !token.expose_secret().is_empty())
    }

    fn client_certificate(&mut self, user: &User) -> Option<(Vec<u8>, SecretString)> {
        let certificate = self.pem(
            (
                "user.client-certificate-data",
                user.client_certificate_data.as_deref(),
            ),
            (
                "user.client-certificate",
                user.client_certificate.as_deref(),
            ),
        );
        let key_data = user
            .client_key_data
            .as_ref()
            .map(|key| key.0.expose_secret());
        let key = self.pem(
            ("user.client-key-data", key_data),
            ("user.client-key", user.client_key.as_deref()),
        );
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                if let Ok(key) = String::from_utf8(key) {
                    return Some((certificate, key.into()));
                }
                self.problem("user.client-key", "is not PEM");
                None
            }
            (None, None) => None,
            (Some(_), None) => {
                self.problem(
                    "user.client-key",
                    "is missing beside the client certificate",
                );
                None
            }
            (None, Some(_)) => {
                self.problem(
                    "user.client-certificate",
                    "is missing beside the client key",
                );
                None
            }
        }
    }

    /// Inline base64 wins over a file, as in client-go.
    fn pem(&mut self, data: (&str, Option<&str>), path: (&str, Option<&str>)) -> Option<Vec<u8>> {
        if let Some(text) = data.1.filter(|text| !text.is_empty()) {
            let compact: String = text.split_whitespace().collect();
            let decoded = STANDARD.decode(compact).ok();
            if decoded.is_none() {
                self.problem(data.0, "is not base64");
            }
            return decoded;
        }
        let file = self.resolve(path.1.filter(|path| !path.is_empty())?);
        match self.files.read(&file) {
            Ok(bytes) => Some(bytes),
            Err(problem) => {
                self.problem(path.0, problem.to_string());
                None
            }
        }
    }

    /// Relative paths are relative to the kubeconfig.
    fn resolve(&self, path: &str) -> std::path::PathBuf {
        match self.file.parent() {
            Some(directory) => directory.join(path),
            None => path.into(),
        }
    }
}
