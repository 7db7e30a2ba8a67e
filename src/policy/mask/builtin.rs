//! The masks that every policy knows by name.

use std::sync::LazyLock;

use super::{FieldPath, MaskRule, Texts};

/// Their names.
pub const BUILTIN: [&str; 8] = [
    "secrets",
    "tokens",
    "workloads",
    "configmaps",
    "events",
    "storage",
    "known-values",
    "credentials",
];

/// Names of variables, headers, parameters and keys whose values are hidden whatever they look like: their
/// last word says so, before `_1`, `_PRIMARY`, `_PROD`, `.txt` and the like. `tokenUrl` or `auth.conf` are looked into
/// instead, and so is the plural of token, which is counted (`MAX_TOKENS`).
const SENSITIVE: &str = r"(?i)((pass(words?|wd)?|pwd|pw)([._-](admin|root|user|app|db|ro|rw|replication))?|pass[._-]?(phrase|code)|(^|[._-])(pat|salt|pepper|bearer)|secrets?|token|creds?|credentials?|.key|auth(orization)?|cookie|dsn|connection[._-]?string)([._-]?(base|primary|secondary|current|previous|old|new|value|hash|[0-9]+)|[._-](v[0-9]+|prod(uction)?|live|staging|stage|test|qa|dev|enc(rypted)?|plain|sha(1|256|512)|md5|bcrypt))*(\.txt)?$";

/// Keys of config maps that are files of which all is secret.
const SENSITIVE_FILES: &str = r"(?i)(^|[._-])(id_(rsa|dsa|ecdsa|ed25519)|htpasswd|pgpass|netrc|dockerconfigjson|dockercfg)$|\.(p12|pfx|jks|keystore)$";

/// Everything that is a pod or has a template of one: its groups, its resources, and where the pod is.
const PODS: [(&[&str], &[&str], &str); 5] = [
    (&[""], &["pods"], ""),
    (
        &["", "apps", "batch", "extensions"], // the last until Kubernetes 1.16
        &CONTROLLERS,
        "spec.template.",
    ),
    (&[""], &["podtemplates"], "template."),
    (&["batch"], &["cronjobs"], "spec.jobTemplate.spec.template."),
    (&["apps"], &["controllerrevisions"], "data.spec.template."),
];

const CONTROLLERS: [&str; 6] = [
    "daemonsets",
    "deployments",
    "jobs",
    "replicasets",
    "replicationcontrollers",
    "statefulsets",
];

/// All of them, with their patterns compiled once.
static RULES: LazyLock<Vec<MaskRule>> =
    LazyLock::new(|| BUILTIN.into_iter().flat_map(written).collect());

/// The mask that is known under `name` without being written in a policy: one rule for each shape its
/// resources have. Empty when there is no such mask.
pub fn builtin(name: &str) -> Vec<MaskRule> {
    let named = RULES.iter().filter(|rule| rule.name == name);
    named.cloned().collect()
}

fn written(name: &str) -> Vec<MaskRule> {
    match name {
        "secrets" => vec![rule(name, &[""], &["secrets"]).fields(&["data.*", "stringData.*"])],
        "tokens" => vec![
            rule(name, &[""], &["serviceaccounts/token"]).fields(&["status.token"]),
            rule(name, &["authentication.k8s.io"], &["tokenreviews"])
                .fields(&["spec.token"])
                .credentials(&["status.error"]),
        ],
        "workloads" => workloads(),
        "configmaps" => vec![
            rule(name, &[""], &["configmaps"])
                .fields(&[
                    &format!("data[~='{SENSITIVE}']"),
                    &format!("data[~='{SENSITIVE_FILES}']"),
                    &format!("binaryData[~='{SENSITIVE}']"),
                    &format!("binaryData[~='{SENSITIVE_FILES}']"),
                ])
                .credentials(&["data.*", "binaryData.*", "metadata.annotations.*"]),
        ],
        "events" => vec![
            rule(name, &[""], &["events"]).credentials(&["message"]),
            rule(name, &["events.k8s.io"], &["events"]).credentials(&["note"]),
        ],
        "storage" => storage(),
        "known-values" => vec![rule(name, &["*"], &["*", "*/*"]).texts(Texts {
            known_values: true,
            ..Texts::default()
        })],
        "credentials" => vec![
            rule(name, &["*"], &["*/attach", "*/exec", "*/log", "*/proxy"]).texts(Texts {
                credentials: true,
                ..Texts::default()
            }),
            rule(name, &["*"], &["*"]).credentials(&["metadata.annotations.*"]),
        ],
        _ => Vec::new(),
    }
}

/// Pods and their templates, and what is said about them.
fn workloads() -> Vec<MaskRule> {
    let name = "workloads";
    let mut rules = PODS.map(|(groups, resources, at)| pods(rule(name, groups, resources), at));
    let [pods, controllers, ..] = &mut rules;
    *pods = container_messages(std::mem::take(pods).credentials(&["status.message"]));
    for rule in [pods, controllers] {
        *rule = std::mem::take(rule).credentials(&["status.conditions[*].message"]);
    }
    let mut rules = rules.to_vec();
    rules.extend([
        rule(name, &["batch"], &["cronjobs"])
            .credentials(&["spec.jobTemplate.metadata.annotations.*"]),
        rule(name, &["apps"], &["statefulsets"])
            .credentials(&["spec.volumeClaimTemplates[*].metadata.annotations.*"]),
    ]);
    rules
}

/// What drivers of volumes are told.
fn storage() -> Vec<MaskRule> {
    let name = "storage";
    let inline = "spec.source.inlineVolumeSpec.";
    let attachments = rule(name, &["storage.k8s.io"], &["volumeattachments"]).credentials(&[
        "status.attachError.message",
        "status.detachError.message",
        &format!("{inline}mountOptions[*]"),
    ]);
    let volumes = rule(name, &[""], &["persistentvolumes"]).credentials(&["spec.mountOptions[*]"]);
    let mut rules = vec![
        parameters(
            rule(
                name,
                &["storage.k8s.io"],
                &["storageclasses", "volumeattributesclasses"],
            )
            .credentials(&["mountOptions[*]"]),
            "parameters",
        ),
        volume(volumes, "spec."),
        volume(parameters(attachments, "status.attachmentMetadata"), inline),
    ];
    for (groups, resources, at) in PODS {
        let at = format!("{at}spec.volumes[*].");
        rules.push(volume(rule(name, groups, resources), &at));
    }
    rules
}

/// The fields of a volume that stands at `at`.
fn volume(rule: MaskRule, at: &str) -> MaskRule {
    let rule = parameters(rule, &format!("{at}csi.volumeAttributes"));
    parameters(rule, &format!("{at}flexVolume.options"))
}

/// A map of which some values are hidden by their name.
fn parameters(rule: MaskRule, at: &str) -> MaskRule {
    rule.fields(&[&format!("{at}[~='{SENSITIVE}']")])
        .credentials(&[&format!("{at}.*")])
}

/// What containers left behind when they ended, and why they wait.
fn container_messages(mut rule: MaskRule) -> MaskRule {
    for containers in [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ] {
        for state in ["state", "lastState"] {
            rule = rule.credentials(&[
                &format!("status.{containers}[*].{state}.terminated.message"),
                &format!("status.{containers}[*].{state}.waiting.message"),
            ]);
        }
    }
    rule
}

/// The fields of a pod that stands at `at`.
fn pods(rule: MaskRule, at: &str) -> MaskRule {
    let mut rule = rule.credentials(&[
        "metadata.annotations.*",
        &format!("{at}spec.volumes[*].ephemeral.volumeClaimTemplate.metadata.annotations.*"),
    ]);
    if !at.is_empty() {
        rule = rule.credentials(&[&format!("{at}metadata.annotations.*")]);
    }
    for containers in ["containers", "initContainers", "ephemeralContainers"] {
        let container = format!("{at}spec.{containers}[*].");
        rule = rule
            .fields(&[&format!("{container}env[name~='{SENSITIVE}'].value")])
            .credentials(&[&format!("{container}env[*].value")])
            .arguments(&[&format!("{container}command"), &format!("{container}args")]);
        for handler in [
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle.postStart",
            "lifecycle.preStop",
        ] {
            let request = format!("{container}{handler}.httpGet");
            rule = rule
                .fields(&[&format!("{request}.httpHeaders[name~='{SENSITIVE}'].value")])
                .credentials(&[
                    &format!("{request}.httpHeaders[*].value"),
                    &format!("{request}.path"),
                ])
                .arguments(&[&format!("{container}{handler}.exec.command")]);
        }
    }
    rule
}

fn rule(name: &str, api_groups: &[&str], resources: &[&str]) -> MaskRule {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    MaskRule {
        name: name.to_owned(),
        api_groups: texts(api_groups),
        resources: texts(resources),
        ..MaskRule::default()
    }
}

impl MaskRule {
    fn fields(mut self, paths: &[&str]) -> Self {
        self.fields.extend(parsed(paths));
        self
    }

    fn credentials(mut self, paths: &[&str]) -> Self {
        self.credentials.extend(parsed(paths));
        self
    }

    fn arguments(mut self, paths: &[&str]) -> Self {
        self.arguments.extend(parsed(paths));
        self
    }

    fn texts(self, texts: Texts) -> Self {
        Self { texts, ..self }
    }
}

/// The paths above; a test sees to it that all of them can be read.
fn parsed(paths: &[&str]) -> impl Iterator<Item = FieldPath> {
    paths.iter().flat_map(|path| FieldPath::parse(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_mask_has_rules_and_all_their_paths() {
        for name in BUILTIN {
            let rules = builtin(name);
            assert!(!rules.is_empty(), "{name}");
            for rule in rules {
                assert_eq!(rule.name, name);
            }
        }
        assert_eq!(builtin("unknown"), Vec::new());
        let paths = |name: &str| -> Vec<(usize, usize, usize)> {
            let count = |rule: &MaskRule| {
                (
                    rule.fields.len(),
                    rule.credentials.len(),
                    rule.arguments.len(),
                )
            };
            builtin(name).iter().map(count).collect()
        };
        assert_eq!(paths("secrets"), [(2, 0, 0)]);
        assert_eq!(paths("tokens"), [(1, 0, 0), (1, 1, 0)]);
        assert_eq!(paths("configmaps"), [(4, 3, 0)]);
        assert_eq!(paths("events"), [(0, 1, 0), (0, 1, 0)]);
        let volume = (2, 2, 0);
        let pods = [volume; PODS.len()];
        let storage = [&[(1, 2, 0), (2, 3, 0), (3, 6, 0)][..], &pods].concat();
        assert_eq!(paths("storage"), storage);
        assert!(
            builtin("known-values")
                .iter()
                .all(|rule| rule.texts.known_values)
        );
        assert_eq!(paths("credentials"), [(0, 0, 0), (0, 1, 0)]);
        // A container has its variables and five handlers, its command, arguments and five commands.
        let template = (3 * 6, 3 + 3 * 11, 3 * 7);
        let controller = (3 * 6, 4 + 3 * 11, 3 * 7);
        let pod = (3 * 6, 2 + 3 * 11 + 1 + 3 * 4 + 1, 3 * 7);
        let more = (0, 1, 0);
        assert_eq!(
            paths("workloads"),
            [pod, controller, template, template, template, more, more]
        );
    }

    fn matches(pattern: &str, name: &str) -> bool {
        regex::Regex::new(pattern).unwrap().is_match(name)
    }

    #[test]
    fn c_45_sensitive_names_are_known_in_every_spelling() {
        for name in [
            "DB_PASSWORD",
            "DBPASSWORD",
            "dbPassword",
            "db.password",
            "DB_PASS",
            "DB_PWD",
            "DB_PW",
            "PGPASS",
            "password.txt",
            "DB_PASSWORD_PRIMARY",
            "PASSWORD_1",
            "REDIS_PASSWORDS",
            "ADMIN_PASSWD_HASH",
            "client-secret",
            "token",
            "apiKey",
            "API_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "SECRET_KEY_BASE",
            "secret_key",
            "encryption-key",
            "MASTERKEY",
            "tls.key",
            "CREDS",
            "GITHUB_PAT",
            "JWT_SECRET_V2",
            "PASSWORD_PROD",
            "PROD_PASSWORD_DB",
            "PASSWORD_OLD_2",
            "ROOTPW",
            "Pass-Phrase",
            "PASSCODE",
            "PASSWORD_SHA256",
            "AUTH_TOKEN_TEST",
            "HASH_SALT",
            "Authorization",
        ] {
            assert!(matches(SENSITIVE, name), "{name}");
        }
        for name in [
            "HOST",
            "PASSWORD_FILE",
            "TOKEN_URL",
            "MAX_TOKENS",
            "LOG_LEVEL",
            "KEYBOARD",
            "key",
            "keys",
            "FORMAT",
            "PATH",
            "app.conf",
            "ca.crt",
            "secretName",
            "passwords.md",
            "AUTH_USER",
            "PASSWORD_LENGTH",
            "TOKEN_TTL",
            "BASALT",
        ] {
            assert!(!matches(SENSITIVE, name), "{name}");
        }
    }

    #[test]
    fn files_of_which_all_is_secret_are_known() {
        for key in ["id_rsa", ".htpasswd", "store.jks", ".dockerconfigjson"] {
            assert!(matches(SENSITIVE_FILES, key), "{key}");
        }
        for key in ["id_rsa.pub", "htpasswd.md", "app.conf", "ca.crt"] {
            assert!(!matches(SENSITIVE_FILES, key), "{key}");
        }
    }
}
