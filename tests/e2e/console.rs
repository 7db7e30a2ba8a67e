//! The console in a browser: log in at a certified provider, answer what waits, look into sessions and end one.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::jwt;
use crate::support::oidc::Provider;
use crate::support::process::{Process, Running};
use crate::support::world::{Kubectl, Options, POLICY, Workshop, World, tool};

const DELETING: &str = r#"- name: deleting
  subjects: {groups: [developers]}
  verbs: [delete]
  apiGroups: [""]
  resources: [pods]
  decision: hold
  message: these pods serve customers
  hold: {approvers: {groups: [on-call]}, wait: 2m, expires: 10m, sameClass: 30m}"#;

/// Where pictures go, if somebody wants new ones: `PORTCULLIS_SCREENSHOTS=docs/images`.
const PICTURES: &str = "PORTCULLIS_SCREENSHOTS";

/// A browser that is driven line by line.
struct Browser {
    process: Running,
}

impl Browser {
    fn start(world: &World) -> Self {
        let chromium = "/usr/bin/chromium";
        assert!(
            Path::new(chromium).exists(),
            "{chromium} is missing: run `tests/tools/install.sh console` as root"
        );
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/console/console.mjs");
        let profile = world.path("browser");
        std::fs::create_dir_all(&profile).unwrap();
        let mut process = Process::new(world.runtime(), tool("node/node"))
            .args([program, tool("console"), chromium.into()])
            .args([world.control_url()])
            .args([&profile])
            .env("HOME", world.path("browser-home"))
            .interactive()
            .start();
        process.wait_longer(Duration::from_mins(1), "the browser", |text| {
            text.contains("\"ready\":true}\n")
        });
        Self { process }
    }

    #[track_caller]
    fn ask(&mut self, wish: &Value) -> Value {
        let answer = self.process.ask(wish, Duration::from_mins(1));
        assert!(answer["error"].is_null(), "{wish}: {}", answer["error"]);
        answer["done"].clone()
    }

    #[track_caller]
    fn open(&mut self, path: &str) {
        self.ask(&json!({"do": "open", "path": path}));
    }

    #[track_caller]
    fn see(&mut self, text: &str) -> String {
        let seen = self.ask(&json!({"do": "see", "text": text}));
        seen.as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn click(&mut self, role: &str, name: &str) {
        self.ask(&json!({"do": "click", "role": role, "name": name}));
    }

    #[track_caller]
    fn fill(&mut self, label: &str, text: &str) {
        self.ask(&json!({"do": "fill", "label": label, "text": text}));
    }

    /// Nothing on this page keeps anybody from using it, and no script of it failed or was kept from running.
    #[track_caller]
    fn check(&mut self, name: &str) {
        let found = self.ask(&json!({"do": "accessible"}));
        for scheme in ["light", "dark"] {
            assert_eq!(found[scheme], json!([]), "{name}, {scheme}");
        }
        assert_eq!(self.ask(&json!({"do": "complaints"})), json!([]), "{name}");
    }

    fn picture(&mut self, name: &str, scheme: &str, height: u32) {
        if let Ok(folder) = std::env::var(PICTURES) {
            let file = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(folder)
                .join(format!("console-{name}.png"));
            self.ask(&json!({"do": "picture", "file": file, "scheme": scheme, "height": height}));
        }
    }
}

/// A gateway with a console, and people with accounts at its provider.
fn world() -> (World, Provider) {
    let workshop = Arc::new(Workshop::new());
    let accounts = json!({"dora": {"groups": ["developers"]}, "oscar": {"groups": ["on-call"]}});
    let mut provider = Provider::start(&workshop, &accounts);
    let audiences = ["console", "portcullis-es256"];
    let rules = format!("\n{DELETING}\n- name: agents-open-no-sessions");
    let options = Options {
        issuers: vec![jwt(&provider.issuer, &workshop.path("ca.crt"), &audiences)],
        policy: Some(POLICY.replacen("\n- name: agents-open-no-sessions", &rules, 1)),
        control: json!({
            "tls": {"certificateFile": "tls.crt", "privateKeyFile": "tls.key"},
            "console": {"clientID": "console", "scopes": ["profile"]},
        }),
        ..Options::default()
    };
    let world = World::start_with(workshop, &options);
    let token = provider.token("dora", "ES256", 3000);
    world.log_in_with("dora", &token);
    (world, provider)
}

fn kubectl(world: &World, args: &[&str]) -> Process {
    world
        .kubectl_with(Kubectl::Current, "dora.kubeconfig")
        .args(args)
}

#[test]
fn people_work_with_the_console_in_a_browser() {
    let (world, _provider) = world();
    let pods = world.admin(&["get", "pods", "-o", "name"]).stdout;
    let pods: Vec<&str> = pods
        .lines()
        .map(|line| line.trim_start_matches("pod/"))
        .collect();
    // What a program prints is drawn, whatever it looks like.
    let evil = "\u{1b}]2;<img src=x onerror=alert(1)>\u{7}<script>alert(2)</script> \u{1b}[31mred\u{1b}[0m drawn";
    let done = kubectl(&world, &["exec", pods[0], "--", "echo", evil]).run();
    done.expect_code(0);

    let mut browser = Browser::start(&world);
    browser.open("/console/sessions");
    browser.see("Log in to the console");
    browser.check("the way in");
    browser.ask(&json!({"do": "open", "path": "/console/approvals", "account": "oscar"}));
    browser.see("Nothing waits for you");
    browser.check("an empty inbox");
    let cookies = browser.ask(&json!({"do": "cookies"}));
    assert_eq!(cookies.as_array().map(Vec::len), Some(1), "{cookies}");
    assert_eq!(cookies[0]["name"], "__Host-portcullis-console", "{cookies}");
    for flag in ["httpOnly", "secure"] {
        assert_eq!(cookies[0][flag], true, "{cookies}");
    }
    assert_eq!(cookies[0]["sameSite"], "Lax", "{cookies}");
    assert_eq!(cookies[0]["expires"], -1, "it goes with the browser");

    answer_what_waits(&world, &mut browser, &pods);
    play_and_end_sessions(&world, &mut browser, pods[0]);
    what_people_did(&mut browser, &pods);
    look_around(&world, &mut browser);
}

fn answer_what_waits(world: &World, browser: &mut Browser, pods: &[&str]) {
    let delete = |pod: &str| kubectl(world, &["delete", "pod", pod, "--wait=false"]).start();
    let mut first = delete(pods[1]);
    // The page is told; nobody reloads it.
    browser.see(&format!("delete pods {}", pods[1]));
    let inbox = browser.see("1 waits for your answer");
    assert!(
        inbox.contains("dora") && inbox.contains("these pods serve customers"),
        "{inbox}"
    );
    assert!(!first.has_ended());
    browser.check("an inbox");
    browser.picture("approvals", "light", 620);
    browser.click("link", &format!("delete pods {}", pods[1]));
    let details = browser.see("Your answer");
    for part in [
        "DELETE",
        pods[1],
        "end-to-end/deleting",
        "propagationPolicy",
    ] {
        assert!(details.contains(part), "{part}: {details}");
    }
    browser.check("a question");
    browser.picture("approval", "dark", 900);
    browser.fill("Reason (optional)", "INC-42");
    browser.click("button", "Approve");
    browser.see("Answered lately");
    first.wait().expect_code(0).expect("deleted");

    let second = delete(pods[2]);
    browser.see(&format!("delete pods {}", pods[2]));
    browser.click("link", &format!("delete pods {}", pods[2]));
    browser.fill("Reason for a no", "not <b>today</b>");
    browser.click("button", "Deny");
    second
        .wait()
        .expect_code(1)
        .expect_error("not <b>today</b>");
    let inbox = browser.see("Nothing waits for you");
    assert!(inbox.contains("not <b>today</b>"), "{inbox}");
    world.admin(&["get", "pod", pods[2]]);

    // A yes to all of the kind: the next one of it waits for nobody.
    let third = delete(pods[3]);
    browser.see(&format!("delete pods {}", pods[3]));
    browser.click("link", &format!("delete pods {}", pods[3]));
    let kind = "all of its kind for 15 min";
    browser.ask(&json!({"do": "choose", "label": "Admits", "option": kind}));
    browser.click("button", "Approve");
    browser.see("yes, to all of its kind for 15 min");
    third.wait().expect_code(0).expect("deleted");
    delete(pods[4]).wait().expect_code(0).expect("deleted");

    // A form on somebody else's page, with the cookies that the browser then sends.
    let form = json!({"kind": "user", "name": "dora", "reason": "evil"});
    let attack = json!({"do": "attack", "path": "/console/callers/block", "form": form});
    let status = browser.ask(&attack);
    assert!([401, 403].map(Value::from).contains(&status), "{status}");
    browser.ask(&json!({"do": "complaints"}));
}

fn play_and_end_sessions(world: &World, browser: &mut Browser, pod: &str) {
    browser.open("/console/sessions");
    browser.see("echo");
    browser.check("sessions");
    browser.ask(&json!({"do": "click", "name": "echo"}));
    let screen = browser.ask(&json!({"do": "play", "text": "drawn", "start": true}));
    let screen = screen.as_str().unwrap();
    assert!(
        screen.contains("<script>alert(2)</script>") && !screen.contains("<img"),
        "{screen}"
    );
    browser.check("a recording");

    let mut cat = kubectl(world, &["exec", "-i", pod, "--", "cat"])
        .interactive()
        .start();
    cat.type_in("the first line\n");
    cat.wait_for("the echo", |text| text.contains("first"));
    browser.open("/console/sessions?live=true");
    let place = browser.ask(&json!({"do": "click", "role": "link", "name": "cat in"}));
    let place = place.as_str().unwrap().replace(&world.control_url(), "");
    // What was before stands there as text, once it is on the disk.
    let begun = tokio::time::Instant::now();
    loop {
        let text = browser.ask(&json!({"do": "text"}));
        if text.as_str().unwrap().contains("the first line") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{text}");
        browser.open(&place);
    }
    browser.see("End this session");
    // The page follows from when it has connected.
    let followed = world.audit().len();
    browser.open(&place);
    while !world.audit().iter().skip(followed).any(|event| {
        let uri = event["requestURI"].as_str().unwrap_or_default();
        uri.starts_with("/console/sessions/") && uri.ends_with("/live")
    }) {
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody follows");
        cat.pause();
    }
    cat.type_in("the second line\nthe third line\n");
    let screen = browser.ask(&json!({"do": "play", "text": "the third line", "start": false}));
    let screen = screen.as_str().unwrap();
    assert!(screen.contains("\nthe third line"), "{screen:?}"); // at the beginning of its line
    browser.check("an open session");
    browser.picture("session", "dark", 760);
    browser.fill("Reason (its user reads it)", "the incident is over");
    browser.click("button", "End it");
    let ended = cat.wait_at_most(Duration::from_secs(20));
    assert_ne!(ended.code, 0, "{ended}");
    ended.expect_error("the incident is over");
    browser.open("/console/sessions?text=SECOND+line");
    browser.see("the second line");
    browser.check("a search");
}

/// What was asked for above, as commands: each with its verdict, the approval that let it through and its recording.
fn what_people_did(browser: &mut Browser, pods: &[&str]) {
    browser.open("/console/commands");
    let commands = browser.see("kubectl delete");
    for part in ["delete pods", "pods/exec", "kubectl exec", "dora", "deny"] {
        assert!(commands.contains(part), "{part}: {commands}");
    }
    assert!(!commands.contains("get /api"), "folded away: {commands}");
    browser.check("commands");
    browser.picture("commands", "light", 620);
    browser.open("/console/commands?verdict=deny&user=dora");
    let denied = browser.see(&format!("delete pods {}", pods[2]));
    assert!(!denied.contains("pods/exec"), "{denied}");
    browser.open("/console/commands?verdict=allow&user=dora");
    browser.click("link", &format!("delete pods {}", pods[1]));
    let command = browser.see("Approved by");
    for part in ["end-to-end/deleting", "oscar", "INC-42", "Took, ms"] {
        assert!(command.contains(part), "{part}: {command}");
    }
    browser.check("a command");
    browser.open("/console/commands?namespace=default");
    browser.click("link", "pods/exec");
    browser.click("link", "Play it");
    browser.see("About it");
}

fn look_around(world: &World, browser: &mut Browser) {
    browser.open("/console/callers?all=true");
    let callers = browser.see("dora");
    assert!(callers.contains("Block somebody"), "{callers}");
    browser.check("callers");
    browser.open(
        "/console/policy?user=dora&groups=developers&agent=&cluster=demo&request=DELETE+/api/v1/namespaces/default/pods/x",
    );
    let policy = browser.see("by rule end-to-end/deleting");
    assert!(policy.contains("people-do-everything"), "{policy}");
    browser.check("policy");
    // By keyboard alone: the first stop skips what is on every page.
    let focused = browser.ask(&json!({"do": "press", "keys": ["Tab"]}));
    assert_eq!(focused, "Skip to content");

    browser.click("button", "Log out");
    browser.see("Log in to the console");
    let before = browser.ask(&json!({"do": "back"}));
    let before = before.as_str().unwrap();
    assert!(before.contains("Log in to the console"), "{before}");
    browser.open("/console/sessions");
    browser.see("Log in to the console");
    let mut told = String::new();
    for event in world.audit() {
        let uri = event["requestURI"].as_str().unwrap_or_default();
        if uri.starts_with("/console/") {
            writeln!(
                told,
                "{} {uri} {}",
                event["verb"], event["user"]["username"]
            )
            .unwrap();
        }
    }
    for line in [
        r#""get" /console/callback "oscar""#,
        r#""post" /console/approvals/"#,
        r#"/end "oscar""#,
        r#""post" /console/logout "oscar""#,
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("code="), "{told}");
}
