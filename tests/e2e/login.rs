//! What callers start with, against a certified provider: kubeconfigs, logins and tokens for stock kubectl.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::jwt;
use crate::support::oidc::Provider;
use crate::support::process::{Outcome, PATIENCE, Process, Running};
use crate::support::world::{Kubectl, Options, Workshop, World, tool};

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Twenty processes on a busy machine.
const LONG: Duration = Duration::from_mins(3);

#[test]
fn people_log_in_with_a_browser_and_stock_kubectls_go_on() {
    let mut desk = Desk::new();
    desk.world.seed_secret("mine");
    desk.kubeconfig("new.kubeconfig", &["--scope=offline_access"])
        .expect("new.kubeconfig: portcullis")
        .expect("portcullis login");
    desk.kubeconfig(
        "old.kubeconfig",
        &["--scope=offline_access", "--exec-api=v1beta1"],
    );

    // Nobody is there to log in: kubectl fails at once, and its user reads what to type.
    let early = desk
        .kubectl(Kubectl::Current, "new.kubeconfig", &["get", "pods"])
        .run();
    early
        .expect_code(1)
        .expect_error("portcullis login --issuer=https://");

    let done = desk.log_in("new.kubeconfig", "dana");
    done.expect_code(0)
        .expect("logged in")
        .expect("portcullis whoami");
    for (version, file) in [
        (Kubectl::Current, "new.kubeconfig"),
        (Kubectl::Current, "old.kubeconfig"),
        (Kubectl::Old, "old.kubeconfig"),
    ] {
        let args = ["get", "secret", "mine", "-o", "yaml"];
        let secret = desk.kubectl(version, file, &args).run();
        desk.world.check(&secret);
        secret.expect_code(0).expect("password: ");
    }
    assert_eq!(desk.provider.grants("authorization_code"), 1);

    let who = desk.portcullis(&["whoami"], "new.kubeconfig").run();
    who.expect_code(0)
        .expect("dana")
        .expect("developers")
        .expect("holds for");
    let who = desk
        .portcullis(&["whoami", "-o", "json"], "new.kubeconfig")
        .run();
    let who: Value = serde_json::from_str(&who.expect_code(0).stdout).unwrap();
    assert_eq!(who["user"], "dana", "{who}");
    assert_eq!(who["agent"], Value::Null, "{who}");
    logging_out_ends_a_login(&desk);
}

fn logging_out_ends_a_login(desk: &Desk) {
    let kept = desk.token_file();
    let tokens: Value = serde_json::from_str(&std::fs::read_to_string(&kept).unwrap()).unwrap();
    let copy = std::fs::read(&kept).unwrap();
    desk.portcullis(&["logout"], "new.kubeconfig")
        .run()
        .expect_code(0)
        .expect("logged out");
    assert!(!kept.exists());
    // Who kept a copy has a login that the provider knows no more, once its token has to be renewed.
    let mut old = tokens.clone();
    old["expiresAt"] = tokens["obtainedAt"].clone();
    std::fs::write(&kept, old.to_string()).unwrap();
    chmod(&kept, 0o600);
    let late = desk
        .kubectl(Kubectl::Current, "new.kubeconfig", &["get", "pods"])
        .run();
    late.expect_code(1)
        .expect_error("the login is over")
        .expect_error("portcullis login");
    for secret in ["token", "refreshToken"] {
        let secret = tokens[secret].as_str().unwrap();
        assert!(!late.stderr.contains(secret), "{late}");
    }

    // What others could have read is not used.
    std::fs::write(&kept, copy).unwrap();
    chmod(&kept, 0o644);
    let wide = desk
        .kubectl(Kubectl::Current, "new.kubeconfig", &["get", "pods"])
        .run();
    wide.expect_code(1).expect_error("open to others");
    desk.portcullis(&["logout", "--all"], "new.kubeconfig")
        .run()
        .expect_code(0);
    assert!(!kept.exists());
}

#[test]
fn twenty_kubectls_refresh_once_and_a_watch_outlives_its_token() {
    let mut desk = Desk::new();
    desk.kubeconfig("dana.kubeconfig", &["--scope=offline_access"]);
    desk.provider.set_lifetime(3);
    desk.log_in("dana.kubeconfig", "dana").expect_code(0);
    desk.provider.set_lifetime(300);
    let tokens: Value =
        serde_json::from_str(&std::fs::read_to_string(desk.token_file()).unwrap()).unwrap();
    let ends_at: jiff::Timestamp = tokens["expiresAt"].as_str().unwrap().parse().unwrap();
    while jiff::Timestamp::now() < ends_at {
        std::thread::sleep(Duration::from_millis(100));
    }
    let kubectls: Vec<Running> = (0..20)
        .map(|_| {
            desk.kubectl(Kubectl::Current, "dana.kubeconfig", &["get", "configmaps"])
                .start()
        })
        .collect();
    for kubectl in kubectls {
        kubectl.wait_at_most(LONG).expect_code(0);
    }
    assert_eq!(desk.provider.grants("refresh_token"), 1);

    // The gateway ends a watch with its token; kubectl asks for another one and goes on.
    desk.world.admin(&["create", "configmap", "soon-gone"]);
    desk.provider.set_lifetime(6);
    desk.log_in("dana.kubeconfig", "dana").expect_code(0);
    let args = [
        "wait",
        "--for=delete",
        "configmap/soon-gone",
        "--timeout=150s",
    ];
    let waiting = desk
        .kubectl(Kubectl::Current, "dana.kubeconfig", &args)
        .start();
    desk.until("the token is renewed in mid-watch", |provider| {
        provider.grants("refresh_token") >= 3
    });
    desk.world.admin(&["delete", "configmap", "soon-gone"]);
    waiting.wait_at_most(LONG).expect_code(0);
    assert_eq!(desk.provider.grants("authorization_code"), 2);
}

#[test]
fn a_machine_whose_clock_is_wrong_logs_in_and_knows_how_long_that_holds() {
    let mut desk = Desk::new();
    desk.kubeconfig("dana.kubeconfig", &[]);
    for (provider_ahead, said) in [(-3600, " s ahead of"), (3600, " s behind")] {
        desk.provider.set_clock(provider_ahead);
        let done = desk.log_in("dana.kubeconfig", "dana");
        done.expect_code(0).expect_error(said);
        let kept = std::fs::read_to_string(desk.token_file()).unwrap();
        let kept: Value = serde_json::from_str(&kept).unwrap();
        let [from, to] = ["obtainedAt", "expiresAt"].map(|key| {
            kept[key]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
        });
        let holds = to.duration_since(from).as_secs();
        assert!((290..=310).contains(&holds), "{provider_ahead}: {holds} s");
    }
}

#[test]
fn devices_programs_and_files_give_tokens_too() {
    let mut desk = Desk::new();
    desk.kubeconfig("dana.kubeconfig", &[]);
    let login = desk.portcullis(&["login"], "dana.kubeconfig").start();
    // There is no display, so there is a code.
    let said = wait_for_error(&login, "with the code in it: ");
    let address = said.rsplit("with the code in it: ").next().unwrap().trim();
    desk.provider.visit(address, "dana");
    login.wait_at_most(LONG).expect_code(0).expect("logged in");
    assert_eq!(desk.provider.grants(DEVICE_CODE), 1);
    let who = desk
        .kubectl(Kubectl::Current, "dana.kubeconfig", &["auth", "whoami"])
        .run();
    who.expect_code(0).expect("dana");

    let secret = desk.world.write("secret", "a secret, with % and : in it\n");
    let secret = format!("--client-secret-file={}", secret.display());
    let program = [
        "--client-id=nightly",
        "--client-credentials",
        &secret,
        "--param=resource=https://gateway.test",
    ];
    desk.kubeconfig("nightly.kubeconfig", &program);
    let who = desk.portcullis(&["whoami"], "nightly.kubeconfig").run();
    who.expect_code(0).expect("nightly");
    let pods = desk
        .kubectl(Kubectl::Current, "nightly.kubeconfig", &["get", "pods"])
        .run();
    pods.expect_code(0);
    assert_eq!(desk.provider.grants("client_credentials"), 1);
    desk.world.write("secret", "a wrong secret");
    let wrong = desk.portcullis(&["login"], "nightly.kubeconfig").run();
    wrong.expect_code(2).expect_error("invalid_client");
    assert!(!wrong.stderr.contains("a wrong secret"), "{wrong}");

    let token = desk.provider.token("dana", "ES256", 300);
    let file = desk.world.write("token", &token);
    let file = format!("--token-file={}", file.display());
    let server = desk.world.url();
    let ca = desk.ca();
    let line = [
        "kubeconfig",
        "--server",
        &server,
        "--certificate-authority",
        &ca,
        &file,
        "--stdout",
    ];
    let printed = desk.portcullis(&line, "none").run();
    desk.world
        .write("pod.kubeconfig", &printed.expect_code(0).stdout);
    let pods = || {
        desk.kubectl(Kubectl::Current, "pod.kubeconfig", &["get", "pods"])
            .run()
    };
    pods().expect_code(0);
    desk.world.write("token", "");
    pods().expect_code(1).expect_error("is empty");
}

#[test]
fn tokens_that_kubelogin_gets_are_as_good() {
    let mut desk = Desk::new();
    for token in desk.provider.tokens_of_kubelogin("dana") {
        desk.world.log_in_with("dana", &token);
        let who = desk
            .kubectl(Kubectl::Current, "dana.kubeconfig", &["auth", "whoami"])
            .run();
        who.expect_code(0).expect("dana").expect("developers");
    }
    assert_eq!(desk.provider.grants("refresh_token"), 1);
}

#[test]
fn kubectl_opens_a_browser_and_prompts_on_standard_error() {
    let mut desk = Desk::new();
    desk.kubeconfig("dana.kubeconfig", &[]);
    let opened = desk.world.path("opened");
    let script = format!(
        "#!/bin/sh\necho \"$1\" > {0}.new && mv {0}.new {0}\n",
        opened.display()
    );
    let browser = desk.world.write("browser", &script);
    chmod(&browser, 0o700);
    let kubectl = desk
        .kubectl(
            Kubectl::Current,
            "dana.kubeconfig",
            &["get", "namespace", "default", "-o", "name"],
        )
        .env("BROWSER", &browser)
        .start();
    wait_for_error(&kubectl, "Log in with the browser");
    desk.until("the browser is started", |_| opened.exists());
    let address = std::fs::read_to_string(&opened).unwrap();
    for part in [
        "code_challenge_method=S256",
        "state=",
        "nonce=",
        "response_type=code",
    ] {
        assert!(address.contains(part), "{address}");
    }
    let page = desk.provider.visit(address.trim(), "dana");
    assert!(page.contains("Back to the terminal"), "{page}");
    let done = kubectl.wait_at_most(LONG);
    done.expect_code(0);
    assert_eq!(done.stdout, "namespace/default\n");
}

#[test]
fn a_gateways_authority_is_trusted_by_its_fingerprint_only() {
    let desk = Desk::new();
    let server = desk.world.url();
    let line = [
        "kubeconfig",
        "--server",
        &server,
        "--token-file=token",
        "--stdout",
    ];
    let shown = desk.portcullis(&line, "none").run();
    shown
        .expect_code(2)
        .expect_error("--trust-fingerprint=")
        .expect_error("--certificate-authority");
    assert_eq!(shown.stdout, "");
    let wrong = format!("--trust-fingerprint={}", "ab".repeat(32));
    let refused = desk
        .portcullis(&[&line[..], &[&wrong]].concat(), "none")
        .run();
    refused
        .expect_code(2)
        .expect_error("not the one that is to be trusted");
}

#[test]
fn a_list_of_kubeconfigs_is_changed_as_kubectl_changes_it() {
    let workshop = Workshop::new();
    let mine = "# mine\ncurrent-context: other\ncontexts: [{name: other, context: {cluster: c, user: u}}]\n";
    workshop.write("one", mine);
    let theirs = "users: [{name: portcullis, user: {token: old}}]\n";
    workshop.write("two", theirs);
    let list = ["gone", "one", "two"].map(|name| workshop.path(name).display().to_string());
    let run = |program: PathBuf, line: &[&str]| {
        Process::new(workshop.runtime(), program)
            .env("KUBECONFIG", list.join(":"))
            .env("HOME", workshop.path("home"))
            .args(line)
            .run()
    };
    let ca = workshop.path("ca.crt").display().to_string();
    let line = [
        "kubeconfig",
        "--server=https://gw.test",
        "--certificate-authority",
        &ca,
    ];
    let write = |more: &[&str]| {
        let line = [&line[..], &["--token-file=token"], more].concat();
        run(env!("CARGO_BIN_EXE_portcullis").into(), &line)
    };
    write(&[]).expect_code(2).expect_error("--overwrite");
    assert_eq!(
        (workshop.read("one").as_str(), workshop.read("two").as_str()),
        (mine, theirs)
    );
    let done = write(&["--overwrite"]);
    done.expect_code(0)
        .expect("one: portcullis")
        .expect_error("it was other")
        .expect_error("comments");
    assert!(!workshop.path("gone").exists());
    let (one, two) = (workshop.read("one"), workshop.read("two"));
    assert!(two.contains("get-token") && !two.contains("old"), "{two}");
    assert!(
        one.contains("https://gw.test") && one.contains("name: other"),
        "{one}"
    );
    assert!(!one.contains("get-token"), "{one}");
    let kubectl = || tool("kubectl-current").join("kubectl");
    run(kubectl(), &["config", "current-context"])
        .expect_code(0)
        .expect("portcullis");
    let view = run(kubectl(), &["config", "view", "--minify"]);
    view.expect_code(0)
        .expect("get-token")
        .expect("https://gw.test");
}

/// A gateway, a provider whose tokens it accepts, and somebody's machine.
struct Desk {
    world: World,
    provider: Provider,
}

impl Desk {
    fn new() -> Self {
        let workshop = Arc::new(Workshop::new());
        let accounts = json!({"dana": {"groups": ["developers"]}});
        let provider = Provider::start(&workshop, &accounts);
        let audiences = ["cli", "portcullis-programs", "portcullis-es256"];
        let mut issuer = jwt(&provider.issuer, &workshop.path("ca.crt"), &audiences);
        issuer["tokenTypes"] = json!(["JWT", "at+jwt"]);
        let options = Options {
            issuers: vec![issuer],
            ..Options::default()
        };
        Self {
            world: World::start_with(workshop, &options),
            provider,
        }
    }

    fn ca(&self) -> String {
        self.world.path("ca.crt").display().to_string()
    }

    /// `portcullis kubeconfig` into this file.
    #[track_caller]
    fn kubeconfig(&self, file: &str, more: &[&str]) -> Outcome {
        let (server, ca) = (self.world.url(), self.ca());
        let issuer = format!("--issuer={}", self.provider.issuer);
        let issuer_ca = format!("--issuer-ca-file={ca}");
        let mut line = vec![
            "kubeconfig",
            "--server",
            &server,
            "--certificate-authority",
            &ca,
        ];
        line.extend([issuer.as_str(), &issuer_ca]);
        if !more.iter().any(|word| word.starts_with("--client-id")) {
            line.extend(["--client-id=cli", "--scope=profile"]);
        }
        line.extend(more);
        let outcome = self.portcullis(&line, file).run();
        outcome.expect_code(0);
        outcome
    }

    fn portcullis(&self, line: &[&str], kubeconfig: &str) -> Process {
        self.at_home(Process::new(
            self.world.runtime(),
            env!("CARGO_BIN_EXE_portcullis"),
        ))
        .env("KUBECONFIG", self.world.path(kubeconfig))
        .args(line)
    }

    fn kubectl(&self, version: Kubectl, kubeconfig: &str, line: &[&str]) -> Process {
        self.at_home(self.world.kubectl_with(version, kubeconfig))
            .args(line)
    }

    fn at_home(&self, process: Process) -> Process {
        process
            .env("HOME", self.world.path("home"))
            .env("XDG_CACHE_HOME", self.world.path("cache"))
            .directory(self.world.path(""))
    }

    /// Logs in as `portcullis login` tells a person to.
    #[track_caller]
    fn log_in(&mut self, kubeconfig: &str, account: &str) -> Outcome {
        let login = self
            .portcullis(&["login"], kubeconfig)
            .env("BROWSER", "/bin/true")
            .start();
        let said = wait_for_error(&login, "state=");
        let address = said
            .split_whitespace()
            .find(|word| word.starts_with("https://"));
        let page = self.provider.visit(address.unwrap(), account);
        assert!(page.contains("Back to the terminal"), "{page}");
        login.wait()
    }

    /// The one file of tokens in the cache.
    fn token_file(&self) -> PathBuf {
        let folder = std::fs::read_dir(self.world.path("cache/portcullis")).unwrap();
        let mut files: Vec<PathBuf> = folder
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Provider) -> bool) {
        let deadline = tokio::time::Instant::now() + LONG;
        while !holds(&mut self.provider) {
            assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Waits until a process has said this, and the line is whole.
#[track_caller]
fn wait_for_error(process: &Running, text: &str) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let said = process.stderr();
        if said.contains(text) && said.ends_with('\n') {
            return said;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no {text:?} in {said}"
        );
        process.pause();
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
