//! Holds in less ordinary moments: told to webhooks, under conditions, unanswered, and when the object has changed.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::process::{Outcome, Running};
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

const SECRET: &str = "a-secret-of-the-webhook";

fn world(rule: &str, control: Value) -> World {
    let rules = format!("\n{rule}\n- name: agents-open-no-sessions");
    let options = Options {
        policy: Some(POLICY.replacen("\n- name: agents-open-no-sessions", &rules, 1)),
        control,
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    world.write("oscar", &world.token(Caller::OnCall));
    world
}

fn approvals(world: &World, args: &[&str]) -> Outcome {
    let url = world.control_url();
    let there = ["--server", &url, "--token-file", "oscar"];
    let outcome = world
        .portcullis(&[&["approvals"], args, &there[..]].concat())
        .run();
    world.check(&outcome);
    outcome.expect_code(0);
    outcome
}

fn open(world: &World) -> Vec<Value> {
    serde_json::from_str(&approvals(world, &["ls", "-o", "json"]).stdout).unwrap()
}

/// The one question that is open, once there is one.
#[track_caller]
fn asked(world: &World, client: &mut Running) -> String {
    let begun = tokio::time::Instant::now();
    loop {
        if let [question] = open(world).as_slice() {
            return question["id"].as_str().unwrap().to_owned();
        }
        assert!(
            !client.has_ended(),
            "{}{}",
            client.stdout(),
            client.stderr()
        );
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody asks");
    }
}

/// A local HTTP server that takes everything: the path, the signature and the body of each message.
#[derive(Clone)]
struct Receiver {
    port: u16,
    taken: Arc<Mutex<Vec<(String, String, String)>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            taken: Arc::default(),
        };
        let taken = Arc::clone(&receiver.taken);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut text = String::new();
                let mut chunk = [0; 4096];
                let message = loop {
                    let read = stream.read(&mut chunk).unwrap();
                    text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        assert!(read > 0, "{text}");
                        continue;
                    };
                    let header = |name: &str| {
                        let lines = head.lines().filter_map(|line| line.split_once(": "));
                        let mut lines = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
                        lines.next().map_or("", |(_, value)| value).to_owned()
                    };
                    if body.len() >= header("content-length").parse().unwrap() {
                        let path = head.split(' ').nth(1).unwrap().to_owned();
                        break (path, header("portcullis-signature"), body.to_owned());
                    }
                };
                taken.lock().push(message);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer).unwrap();
            }
        });
        receiver
    }

    /// The messages to one path, once there are `count`.
    #[track_caller]
    fn to(&self, path: &str, count: usize) -> Vec<(String, String)> {
        let begun = tokio::time::Instant::now();
        loop {
            let taken = self.taken.lock().clone();
            let to = taken.into_iter().filter(|(to, ..)| to == path);
            let to: Vec<(String, String)> =
                to.map(|(_, signature, body)| (signature, body)).collect();
            if to.len() >= count {
                return to;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{path}: {to:?}");
            std::thread::yield_now();
        }
    }
}

const DELETING: &str = r#"- name: deleting
  subjects: {groups: [developers]}
  verbs: [delete]
  apiGroups: [""]
  resources: [pods]
  decision: hold
  message: somebody <may> be using it
  hold: {approvers: {groups: [on-call]}, wait: 1m, expires: 10s}"#;

/// As the documentation says: HMAC-SHA256 over the time, a dot and the body.
fn check_signature(signature: &str, body: &str) {
    let (time, tag) = signature.split_once(",v1=").unwrap();
    let time = time.strip_prefix("t=").unwrap();
    let now = jiff::Timestamp::now().as_second();
    assert!((now - time.parse::<i64>().unwrap()).abs() < 60);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let expected = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    let expected: Vec<String> = expected
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(tag, expected.concat());
}

/// What people read in a chat: plain text, in which nothing is marked up.
fn check_chats(receiver: &Receiver, id: &str) {
    let slack: Value = serde_json::from_str(&receiver.to("/slack", 1)[0].1).unwrap();
    let text = slack["text"].as_str().unwrap();
    assert!(
        text.contains(id) && text.contains("somebody &lt;may&gt; be using it"),
        "{text}"
    );
    let block = &slack["blocks"][0]["text"];
    assert_eq!(block["type"], "plain_text");
    assert!(
        block["text"]
            .as_str()
            .unwrap()
            .contains("somebody <may> be")
    );
    let teams: Value = serde_json::from_str(&receiver.to("/teams", 1)[0].1).unwrap();
    let card = &teams["attachments"][0];
    assert_eq!(
        card["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    let run = &card["content"]["body"][0]["inlines"][0];
    assert!(
        run["text"]
            .as_str()
            .unwrap()
            .contains(&format!("approvals show {id}"))
    );
}

#[test]
fn webhooks_are_told_in_their_own_form_and_signed() {
    let receiver = Receiver::start();
    let workshop = Workshop::new();
    let hook = |path: &str, format: &str| {
        let url = format!("http://127.0.0.1:{}/{path}", receiver.port);
        let file = workshop.write(path, &url);
        let secret = workshop.write("webhook-secret", SECRET);
        json!({"urlFile": file, "format": format, "secretFile": secret})
    };
    let hooks =
        json!({"webhooks": [hook("json", "json"), hook("slack", "slack"), hook("teams", "teams")]});
    let rules = format!("\n{DELETING}\n- name: agents-open-no-sessions");
    let options = Options {
        policy: Some(POLICY.replacen("\n- name: agents-open-no-sessions", &rules, 1)),
        control: hooks,
        ..Options::default()
    };
    let world = World::start_with(Arc::new(workshop), &options);
    world.write("oscar", &world.token(Caller::OnCall));
    let pod = world.pod();
    let mut waiting = world
        .kubectl(Kubectl::Current, Caller::Developer)
        .args(["delete", "pod", &pod, "--wait=false"])
        .start();
    let id = asked(&world, &mut waiting);
    let told = receiver.to("/json", 1);
    let (signature, body) = &told[0];
    let message: Value = serde_json::from_str(body).unwrap();
    assert_eq!(message["event"], "approval.asked");
    assert_eq!(message["id"], id);
    assert_eq!(message["requests"][0]["name"], pod);
    assert!(message["requests"][0].get("diff").is_none() && !body.contains("propagationPolicy"));
    check_signature(signature, body);
    check_chats(&receiver, &id);
    approvals(&world, &["approve", &id]);
    waiting.wait().expect_code(0);
    let events = receiver.to("/json", 3);
    let events: Vec<Value> = events
        .iter()
        .map(|(_, body)| serde_json::from_str::<Value>(body).unwrap()["event"].clone())
        .collect();
    assert_eq!(
        events,
        ["approval.asked", "approval.approved", "approval.used"]
    );
}

#[test]
fn a_question_that_nobody_answers_ends_while_kubectl_waits() {
    let world = world(DELETING, Value::Null);
    for version in KUBECTLS {
        let pod = world.pod();
        let mut waiting = world
            .kubectl(version, Caller::Developer)
            .args(["delete", "pod", &pod, "--wait=false"])
            .start();
        let id = asked(&world, &mut waiting);
        let outcome = waiting.wait();
        outcome
            .expect_code(1)
            .expect_error(&format!("nobody answered approval {id} in time"))
            .expect_error("run the same command again");
        assert!(open(&world).is_empty());
    }
    let deleted = world.api_server.requests();
    assert!(!deleted.iter().any(|seen| seen.method == "DELETE"));
}

const RISKY: &str = r#"- name: risky
  subjects: {groups: [developers]}
  verbs: [create, update, patch]
  apiGroups: [""]
  resources: [pods]
  when: [{name: privileged}]
  decision: hold
  hold: {approvers: {groups: [on-call]}}"#;

#[test]
fn only_what_a_condition_holds_for_is_held() {
    let world = world(RISKY, Value::Null);
    for version in KUBECTLS {
        let pod = |name: &str, privileged: bool| {
            let name = format!("{name}-{}", version.name().replace('.', "-"));
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                "spec": {"containers": [{"name": "app", "image": "nginx",
                    "securityContext": {"privileged": privileged}}]},
            });
            let file = world.write(&format!("{name}.json"), &pod.to_string());
            (name, file.to_str().unwrap().to_owned())
        };
        let (_, ordinary) = pod("ordinary", false);
        world
            .run(version, Caller::Developer, &["apply", "-f", &ordinary])
            .expect_code(0);
        assert!(open(&world).is_empty());
        let (name, risky) = pod("risky", true);
        let mut waiting = world
            .kubectl(version, Caller::Developer)
            .args(["apply", "-f", &risky])
            .start();
        let id = asked(&world, &mut waiting);
        approvals(&world, &["show", &id])
            .expect("privileged: a container runs privileged")
            .expect("\"privileged\": true");
        approvals(&world, &["approve", &id]);
        waiting.wait().expect_code(0);
        world.admin(&["get", "pod", &name]);
    }
}

const PATCHING: &str = r#"- name: patching
  subjects: {groups: [developers]}
  verbs: [patch]
  apiGroups: [""]
  resources: [configmaps]
  when: [{name: red, expression: "object.?data.?colour.orValue('') == 'red'"}]
  decision: hold
  hold: {approvers: {groups: [on-call]}, wait: 0s}"#;

#[test]
fn a_yes_is_not_used_up_by_an_object_that_changed_in_between() {
    let world = world(PATCHING, Value::Null);
    for version in KUBECTLS {
        let name = format!("web-{}", version.name().replace('.', "-"));
        let object = |shape: &str| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                // Changed, and the same one: of another a yes says nothing.
                "metadata": {"name": name, "namespace": "default", "uid": format!("uid-of-{name}")},
                "data": {"colour": "blue", "shape": shape},
            })
        };
        world.api_server.put(object("round")).unwrap();
        let patch = || {
            let args = [
                "patch",
                "configmap",
                &name,
                "--type=merge",
                "-p",
                r#"{"data":{"colour":"red"}}"#,
            ];
            world.run(version, Caller::Developer, &args)
        };
        patch()
            .expect_code(1)
            .expect_error("holds this for approval");
        let id = open(&world)[0]["id"].as_str().unwrap().to_owned();
        approvals(&world, &["approve", &id]);
        // Somebody else is faster than the patch, once.
        world.api_server.meddle(&name, object("square"));
        patch()
            .expect_code(1)
            .expect_error("the object has been modified")
            .expect_error(&format!("approval {id} was not used up"));
        assert_eq!(open(&world)[0]["state"], "approved");
        patch().expect_code(0);
        assert!(open(&world).is_empty());
        // And after that it is.
        world.admin(&[
            "patch",
            "configmap",
            &name,
            "-p",
            r#"{"data":{"colour":"blue"}}"#,
        ]);
        patch()
            .expect_code(1)
            .expect_error("holds this for approval");
        let again = open(&world)[0]["id"].as_str().unwrap().to_owned();
        assert_ne!(again, id);
        approvals(&world, &["deny", &again, "--reason", "once is enough"]);
    }
    let events = world.audit();
    let given_back = events
        .iter()
        .filter(|event| event["annotations"]["portcullis.dev/approval-given-back"].is_string());
    assert_eq!(given_back.count(), KUBECTLS.len());
}
