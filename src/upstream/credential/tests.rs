use std::fs;

use loadtest::pki::Ca;

use super::*;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn kubeconfig(&self, cluster: &str, user: &str) -> Source {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: main\npreferences: {{}}\n\
             contexts:\n- name: main\n  context: {{cluster: c, user: u, namespace: x}}\n\
             - name: broken\n  context: {{cluster: nowhere, user: nobody}}\n\
             clusters:\n- name: c\n  cluster: {cluster}\nusers:\n- name: u\n  user: {user}\n"
        );
        Source::Kubeconfig {
            file: self.write("config", &text),
            context: None,
        }
    }
}

fn problems(source: &Source) -> Vec<String> {
    check(source)
        .into_iter()
        .map(|problem| format!("{} {}", problem.field, problem.message))
        .collect()
}

fn bearer_of(source: &Source) -> String {
    let access = load(source).unwrap();
    assert!(!format!("{access:?}").contains("tok"), "{access:?}");
    let value = access.authorization.unwrap();
    assert!(value.is_sensitive());
    value.to_str().unwrap().to_owned()
}

const INSECURE: &str = "{server: 'https://127.0.0.1:6443', insecure-skip-tls-verify: true}";

#[test]
fn reads_a_token_and_the_servers_address() {
    let directory = Directory::new();
    let ca = directory.write("ca.crt", &Ca::new().unwrap().pem());
    let cluster = "{server: 'https://k8s.example:6443/k8s/clusters/x/', certificate-authority: ca.crt, tls-server-name: api.internal}";
    let source = directory.kubeconfig(cluster, "{token: tok-1}");
    assert_eq!(bearer_of(&source), "Bearer tok-1");
    let server = load(&source).unwrap().server;
    assert_eq!(server.authority.as_str(), "k8s.example:6443");
    assert_eq!((server.host.as_str(), server.port), ("k8s.example", 6443));
    assert_eq!(server.prefix, "/k8s/clusters/x");
    assert_eq!(server.name, ServerName::try_from("api.internal").unwrap());
    fs::remove_file(ca).unwrap();
    assert!(problems(&source)[0].starts_with("cluster.certificate-authority "));
}

#[test]
fn a_token_file_wins_and_is_trimmed_and_its_change_is_seen() {
    let directory = Directory::new();
    directory.write("token", "tok-file\n");
    let source = directory.kubeconfig(INSECURE, "{token: tok-inline, tokenFile: token}");
    assert_eq!(bearer_of(&source), "Bearer tok-file");
    let before = load(&source).unwrap();
    assert_eq!(load(&source).unwrap().digest, before.digest);
    directory.write("token", "tok-next");
    let after = load(&source).unwrap();
    assert_ne!(after.digest, before.digest);
    assert_eq!(
        after.connection_digest, before.connection_digest,
        "connections may stay"
    );
    assert_eq!(bearer_of(&source), "Bearer tok-next");
    directory.write("token", " \n");
    assert_eq!(problems(&source), [" is empty; it must hold a token"]);
    directory.write("token", "tok\nInjected: x");
    assert_eq!(
        problems(&source),
        ["token contains characters that no token has"]
    );
}

#[test]
fn b45_a_client_certificate_is_presented_only_without_a_token() {
    let directory = Directory::new();
    let (certificate, key) = Ca::new().unwrap().client("gateway", None).unwrap();
    directory.write("client.crt", &certificate);
    directory.write("client.key", &key);
    let files = "client-certificate: client.crt, client-key: client.key";
    let alone = load(&directory.kubeconfig(INSECURE, &format!("{{{files}}}"))).unwrap();
    assert!(alone.authorization.is_none());
    assert!(alone.tls.client_auth_cert_resolver.has_certs());
    let both = load(&directory.kubeconfig(INSECURE, &format!("{{token: tok, {files}}}"))).unwrap();
    assert!(both.authorization.is_some());
    assert!(!both.tls.client_auth_cert_resolver.has_certs());

    let data = format!(
        "{{client-certificate-data: {}, client-key-data: {}}}",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &certificate),
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &key)
    );
    let inline = load(&directory.kubeconfig(INSECURE, &data)).unwrap();
    assert!(inline.tls.client_auth_cert_resolver.has_certs());

    let half = directory.kubeconfig(INSECURE, "{client-certificate: client.crt}");
    assert_eq!(
        problems(&half),
        ["user.client-key is missing beside the client certificate"]
    );
}

#[test]
fn names_every_problem_by_field_and_never_by_value() {
    let directory = Directory::new();
    let cluster =
        "{server: 'http://h', certificate-authority-data: '!secret!', proxy-url: 'http://p'}";
    let user = "{exec: {command: aws}, auth-provider: {name: oidc}, username: u, password: hunter2, as: root, client-key-data: '?hunter2?'}";
    let found = problems(&directory.kubeconfig(cluster, user));
    let fields: Vec<_> = found
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "cluster.proxy-url",
            "cluster.server",
            "cluster.certificate-authority-data",
            "user.exec",
            "user.auth-provider",
            "user.username",
            "user.as",
            "user.client-key-data",
        ]
    );
    assert!(!found.concat().contains("hunter2"));

    assert_eq!(problems(&directory.kubeconfig(INSECURE, "{}")).len(), 1);
    for url in [
        "",
        "https://",
        "kubernetes",
        "https://u:p@h",
        "https://h/?a=b",
        "ftp://h",
    ] {
        let cluster = format!("{{server: '{url}'}}");
        let found = problems(&directory.kubeconfig(&cluster, "{token: tok}"));
        assert!(found[0].starts_with("cluster.server "), "{url}: {found:?}");
    }
}

#[test]
fn a_broken_file_is_reported_without_its_text() {
    let directory = Directory::new();
    for text in [
        "users: [{name: u, user: {token: hunter2",
        "users: hunter2",
        "users: [{name: u, user: {token: [hunter2]}}]",
    ] {
        let file = directory.write("broken", text);
        let found = problems(&Source::Kubeconfig {
            file,
            context: None,
        })
        .concat();
        assert!(found.contains("line 1"), "{found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn contexts_are_found_by_name() {
    let directory = Directory::new();
    let Source::Kubeconfig { file, .. } = directory.kubeconfig(INSECURE, "{token: tok}") else {
        unreachable!()
    };
    let with = |context: &str| {
        problems(&Source::Kubeconfig {
            file: file.clone(),
            context: Some(context.to_owned()),
        })
    };
    assert_eq!(with(""), [""; 0]);
    assert_eq!(with("main"), [""; 0]);
    assert_eq!(with("other"), ["contexts has no context `other`"]);
    assert_eq!(with("broken").len(), 2);
    let missing = Source::Kubeconfig {
        file: "/nonexistent/config".into(),
        context: None,
    };
    assert!(problems(&missing)[0].contains("cannot be read"));
}

#[test]
fn a_pods_service_account_is_read() {
    let directory = Directory::new();
    let mut pod = InCluster {
        host: "fd00::1".to_owned(),
        port: "443".to_owned(),
        token_file: directory.write("token", "tok-sa\n"),
        authority_file: directory.write("ca.crt", &Ca::new().unwrap().pem()),
    };
    assert_eq!(bearer_of(&Source::InCluster(pod.clone())), "Bearer tok-sa");
    let server = load(&Source::InCluster(pod.clone())).unwrap().server;
    assert_eq!((server.host.as_str(), server.port), ("fd00::1", 443));
    pod.token_file = "/nonexistent".into();
    pod.authority_file = "/nonexistent".into();
    assert_eq!(check(&Source::InCluster(pod)).len(), 2);
}
