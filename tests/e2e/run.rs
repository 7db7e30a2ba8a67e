//! What an agent did and what it saw, afterwards: answers on record, and its whole run on one timeline.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::process::Outcome;
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

/// What agents see is kept; pods they may delete when somebody says yes, and shells they may open.
fn policy() -> String {
    let rules = r#"
- name: what-agents-see
  subjects: {agents: ["*"]}
  record: responses
- name: agents-ask-before-they-delete
  subjects: {agents: ["*"]}
  verbs: [delete]
  apiGroups: [""]
  resources: [pods]
  decision: hold
  hold: {approvers: {groups: [on-call]}}
- name: agents-look-into-pods
  subjects: {agents: ["*"]}
  verbs: [create]
  apiGroups: [""]
  resources: [pods/exec]
  decision: allow
- name: agents-open-no-sessions"#;
    POLICY.replacen("\n- name: agents-open-no-sessions", rules, 1)
}

fn agent(world: &World, args: &[&str]) -> Outcome {
    world.run(Kubectl::Current, Caller::Agent, args)
}

fn replay(world: &World, args: &[&str]) -> Outcome {
    replay_of(world, &["--data-dir", "data"], args)
}

fn replay_of(world: &World, place: &[&str], args: &[&str]) -> Outcome {
    let run = ["replay", "--caller", "dora", "--agent", "coding-assistant"];
    let since = ["--since", "1h"];
    let outcome = world
        .portcullis(&[&run[..], &since, place, args].concat())
        .run();
    world.check(&outcome);
    outcome
}

/// What an operator far away is told.
fn from_afar(world: &World, args: &[&str]) -> String {
    let url = world.control_url();
    let there = ["--server", url.as_str(), "--token-file", "oscar"];
    replay_of(world, &there, args).stdout
}

/// One line of JSON for each request of the run.
fn requests(world: &World) -> Vec<Value> {
    let told = replay(world, &["-o", "json"]);
    told.expect_code(0);
    let lines = told.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Reads, a denial, a shell, and a delete for which somebody is asked.
fn the_run(world: &World, pod: &str) {
    let get = ["get", "secret", "first", "-o", "json"];
    agent(world, &["get", "pods"]).expect_code(0).expect(pod);
    agent(world, &get).expect_code(0);
    agent(world, &get).expect_code(0);
    agent(world, &["delete", "secret", "first"]).expect_code(1);
    let exec = ["exec", pod, "--", "echo", "seen in the shell"];
    agent(world, &exec).expect_code(0);
    let delete = ["delete", "pod", pod, "--wait=false"];
    agent(world, &delete).expect_code(1);
    let there = ["--server", &world.control_url(), "--token-file", "oscar"];
    let listed = ["approvals", "ls", "-o", "json"];
    let listed = world.portcullis(&[&listed[..], &there].concat()).run();
    let asked: Value = serde_json::from_str(&listed.stdout).unwrap();
    let id = asked[0]["id"].as_str().expect("a question");
    let yes = ["approvals", "approve", id, "--reason", "it is idle"];
    world
        .portcullis(&[&yes[..], &there].concat())
        .run()
        .expect_code(0);
    agent(world, &delete).expect_code(0);
}

/// Somebody changes what the agent saw; whoever replays it here or from afar is told.
fn what_was_kept_is_changed(world: &World, shelf: &Path, digest: Option<&str>) {
    let digest = digest.expect("an answer on record");
    let file = shelf
        .join(digest.split_at(2).0)
        .join(format!("{digest}.zst"));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&file, zstd::encode_all(&b"{}"[..], 0).unwrap()).unwrap();
    replay(world, &["--text"]).expect("THIS IS NOT WHAT WAS KEPT");
    assert!(from_afar(world, &["--text"]).contains("THIS IS NOT WHAT WAS KEPT"));
    std::fs::remove_file(&file).unwrap();
    replay(world, &["--text"]).expect("is not there any more");
    assert!(from_afar(world, &["--text"]).contains("is not there any more"));
}

#[test]
fn an_agents_run_is_told_with_what_it_saw_what_was_decided_and_its_shells() {
    let options = Options {
        policy: Some(policy()),
        recording: json!({"responseBytes": 4096}),
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    let pod = world.pod();
    world.seed_secret("first");
    world.write("oscar", &world.token(Caller::OnCall));

    the_run(&world, &pod);
    // Somebody else's doings are no part of it, and are not kept.
    let other = world.run(KUBECTLS[0], Caller::Developer, &["get", "configmaps"]);
    other.expect_code(0);

    let told = replay(&world, &["--text"]);
    told.expect_code(0);
    told.expect("kubectl get  by dora (coding-assistant)")
        .expect("NAME")
        .expect("masked at: data.password")
        .expect("deny")
        .expect("because:")
        .expect("hold")
        .expect("approved by: oscar")
        .expect("reason of the approval: it is idle")
        .expect("┃ seen in the shell")
        .expect("more lines; --full shows them");
    assert!(!told.stdout.contains("configmaps"), "{told}");

    // An operator far away is told the same, and can tell as well whether it is what was kept.
    assert_eq!(from_afar(&world, &["--text"]), told.stdout);
    assert_eq!(
        from_afar(&world, &["-o", "json"]),
        replay(&world, &["-o", "json"]).stdout
    );

    let requests = requests(&world);
    let secrets: Vec<&Value> = requests
        .iter()
        .filter(|request| request["object"] == "secrets first" && request["verb"] == "get")
        .collect();
    let [first, again] = secrets.as_slice() else {
        panic!("{requests:?}");
    };
    assert_eq!(first["response"]["body"]["kind"], "Secret");
    assert_eq!(first["response"]["state"], "verified");
    assert_eq!(
        first["annotations"]["response"], again["annotations"]["response"],
        "equal answers are one"
    );
    let shell = requests
        .iter()
        .find(|request| request["object"].as_str().unwrap().starts_with("pods/exec"));
    let transcript = shell.expect("the shell")["transcript"].to_string();
    assert!(transcript.contains("seen in the shell"), "{transcript}");

    let shelf = world.path("data/recordings/responses");
    what_was_kept_is_changed(&world, &shelf, first["annotations"]["response"].as_str());

    // What cannot be kept is not asked for.
    std::fs::rename(&shelf, world.path("data/recordings/away")).unwrap();
    std::fs::write(&shelf, "in the way").unwrap();
    let before = world.api_server.requests().len();
    let refused = agent(&world, &["get", "--raw", "/api/v1/namespaces/default/pods"]);
    refused.expect_error("cannot keep them");
    assert_eq!(world.api_server.requests().len(), before);
    let metrics = world.control("/metrics");
    let lost = "portcullis_response_failures_total{mode=\"required\"} 0";
    assert!(!metrics.contains(lost), "{metrics}");
}
