use serde_json::{Value, json};

use super::recent::{Recent, Whole};
use super::*;

/// An event; what is not given is as of somebody's `kubectl get pods`.
fn event(id: u32, changes: &Value) -> Seen {
    let mut event = json!({
        "auditID": format!("id-{id}"), "stage": "ResponseComplete", "verb": "list",
        "requestURI": "/api/v1/namespaces/shop/pods?limit=500",
        "user": {"username": "alice"},
        "objectRef": {"resource": "pods", "namespace": "shop", "apiVersion": "v1"},
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": Timestamp::from_second(i64::from(id)).unwrap(),
        "stageTimestamp": Timestamp::from_second(i64::from(id)).unwrap(),
        "annotations": {
            "portcullis.dev/decision": "allow",
            "portcullis.dev/claimed-command": "kubectl get",
            "portcullis.dev/claimed-session": "s1",
            "portcullis.dev/chain": "0".repeat(64),
        },
    });
    merge(&mut event, changes);
    Seen::read(event.to_string().as_bytes()).unwrap()
}

fn merge(into: &mut Value, changes: &Value) {
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Object(_) if into[key].is_object() => merge(&mut into[key], value),
            value => into[key] = value.clone(),
        }
    }
}

fn discovery(id: u32) -> Seen {
    event(
        id,
        &json!({"requestURI": "/apis?timeout=32s", "objectRef": null, "verb": "get"}),
    )
}

/// What is told of these events, the latest first, and whether there was more.
fn gather(filter: &Filter, most: usize, events: Vec<Seen>) -> (Vec<Command>, bool) {
    let mut recent = Recent::new(most);
    let requests = events.into_iter().rev().map(Request::from);
    let more = requests
        .filter(|request| filter.matches(request))
        .any(|request| !recent.push(request));
    (recent.finish(), more)
}

fn session(name: &str) -> Value {
    json!({"annotations": {"portcullis.dev/claimed-session": name}})
}

#[test]
fn requests_of_one_run_of_kubectl_are_one_command() {
    let (commands, more) = gather(
        &Filter::default(),
        10,
        vec![
            discovery(1),
            event(2, &json!({})),
            event(3, &session("s2")),
            event(
                4,
                &json!({"verb": "delete", "objectRef": {"name": "web-0"}}),
            ),
        ],
    );
    assert!(!more);
    let ids: Vec<&str> = commands.iter().map(|command| command.id.as_str()).collect();
    assert_eq!(ids, ["id-1", "id-3"]);
    assert_eq!((commands[0].discovery, commands[0].requests.len()), (1, 2));
    let chief = commands[0].chief().unwrap();
    assert_eq!(
        (chief.verb.as_str(), chief.object.as_str()),
        ("delete", "pods web-0")
    );
    assert!(!chief.annotations.contains_key("chain"));
}

/// What a client claims cannot make its requests part of somebody else's command, nor hide a denial.
#[test]
fn claims_hide_nothing() {
    let denied = json!({"verb": "delete", "annotations": {"portcullis.dev/decision": "deny"}, "responseStatus": {"code": 403}});
    let (commands, _) = gather(
        &Filter::default(),
        10,
        vec![
            event(1, &json!({})),
            event(2, &json!({"user": {"username": "mallory"}})),
            event(3, &json!({"annotations": {"portcullis.dev/agent": "bot"}})),
            event(
                4,
                &json!({"annotations": {"portcullis.dev/claimed-command": "kubectl delete"}}),
            ),
            event(5, &denied),
            // discovery that was refused is no discovery
            event(
                6,
                &json!({"requestURI": "/api", "objectRef": null, "user": {"username": "bob"},
                "annotations": {"portcullis.dev/decision": "deny"}}),
            ),
        ],
    );
    let told: Vec<_> = commands
        .iter()
        .map(|command| {
            (
                command.user.as_str(),
                command.decision.as_str(),
                command.requests.len(),
            )
        })
        .collect();
    let expected = [
        ("bob", "deny", 1),
        ("alice", "deny", 2),
        ("alice", "allow", 1),
        ("alice", "allow", 1),
        ("mallory", "allow", 1),
    ];
    assert_eq!(told, expected);
    assert_eq!(commands[1].chief().unwrap().code, Some(403));
}

/// Only who asked what the API has, or looked at the log, did nothing.
#[test]
fn what_only_looks_like_discovery_is_told() {
    let told = |verb: &str, uri: &str, cluster: Option<&str>| {
        let mut changes = json!({"verb": verb, "requestURI": uri, "objectRef": null});
        if let Some(cluster) = cluster {
            changes["annotations"] = json!({"portcullis.dev/cluster": cluster});
        }
        let (commands, _) = gather(&Filter::default(), 1, vec![event(1, &changes)]);
        commands.len() == 1
    };
    for (verb, uri) in [
        ("delete", "/apis/hidden-thing"),
        ("post", "/openapi/x"),
        ("patch", "/api"),
        ("put", "/version"),
    ] {
        assert!(told(verb, uri, Some("east")), "{verb} {uri}");
    }
    assert!(!told("get", "/apis?timeout=32s", Some("east")));
    // Of the gateway itself, and of a cluster.
    for uri in ["/console", "/console/audit?user=a", "/v1/audit/events"] {
        assert!(!told("get", uri, None), "{uri}");
        assert!(told("get", uri, Some("east")), "{uri}");
        assert!(told("post", uri, None), "{uri}");
    }
    assert!(told("get", "/console-of-cluster/admin", None));
}

#[test]
fn a_request_is_told_once_as_far_as_it_has_come() {
    let stage = |stage: &str| json!({"stage": stage, "objectRef": {"subresource": "exec"}});
    let mut gathering = Gathering::new(Timestamp::from_second(1).unwrap());
    for seen in [
        event(1, &stage("RequestReceived")),
        event(1, &stage("ResponseStarted")),
        event(2, &stage("RequestReceived")),
        event(1, &stage("ResponseComplete")),
    ] {
        gathering.push(seen.into());
    }
    let command = gathering.finish().unwrap();
    let requests: Vec<_> = command
        .requests
        .iter()
        .map(|request| (request.audit_id.as_str(), request.over))
        .collect();
    assert_eq!(requests, [("id-1", true), ("id-2", false)]);
}

#[test]
fn filters_look_at_requests() {
    let other = json!({"user": {"username": "bob"}, "verb": "delete", "objectRef": {"namespace": "dev"},
        "annotations": {"portcullis.dev/agent": "bot", "portcullis.dev/decision": "deny"}});
    let text = |text: &str| Some(text.to_owned());
    let time = |second| Some(Timestamp::from_second(second).unwrap());
    for (filter, expected) in [
        (Filter::default(), vec!["id-2", "id-1"]),
        (
            Filter {
                user: text("bob"),
                ..Filter::default()
            },
            vec!["id-2"],
        ),
        (
            Filter {
                agent: text("bot"),
                ..Filter::default()
            },
            vec!["id-2"],
        ),
        (
            Filter {
                namespace: text("shop"),
                ..Filter::default()
            },
            vec!["id-1"],
        ),
        (
            Filter {
                verb: text("delete"),
                ..Filter::default()
            },
            vec!["id-2"],
        ),
        (
            Filter {
                decision: text("deny"),
                ..Filter::default()
            },
            vec!["id-2"],
        ),
        (
            Filter {
                decision: text("hold"),
                ..Filter::default()
            },
            vec![],
        ),
        (
            Filter {
                since: time(2),
                ..Filter::default()
            },
            vec!["id-2"],
        ),
        (
            Filter {
                until: time(2),
                ..Filter::default()
            },
            vec!["id-1"],
        ),
    ] {
        let (commands, _) = gather(&filter, 10, vec![event(1, &json!({})), event(2, &other)]);
        let ids: Vec<&str> = commands.iter().map(|command| command.id.as_str()).collect();
        assert_eq!(ids, expected, "{filter:?}");
    }
}

/// The latest so many, also when many only asked what the API has.
#[test]
fn a_long_log_gives_its_latest_commands() {
    let mut events = Vec::new();
    for id in 0..3000 {
        events.push(event(id, &session(&format!("s{id}"))));
        let mut folded = session(&format!("d{id}"));
        merge(
            &mut folded,
            &json!({"requestURI": "/api", "objectRef": null, "verb": "get"}),
        );
        events.push(event(id, &folded));
    }
    let (commands, more) = gather(&Filter::default(), 5, events);
    let ids: Vec<&str> = commands.iter().map(|command| command.id.as_str()).collect();
    assert_eq!(ids, ["id-2999", "id-2998", "id-2997", "id-2996", "id-2995"]);
    assert!(more);
}

/// Who looks into the log is not what one looks for in it.
#[test]
fn looks_into_the_log_are_folded_away_unless_somebody_is_kept_out() {
    let look = |path: &str| json!({"verb": "get", "requestURI": path, "objectRef": null});
    let mut denied = look("/v1/audit/events");
    merge(
        &mut denied,
        &json!({"annotations": {"portcullis.dev/decision": "refuse"}}),
    );
    let events = vec![
        event(1, &look("/console/commands?user=a")),
        event(2, &look("/v1/audit/events?since=2026-11-20T00:00:00Z")),
        event(3, &denied),
        event(4, &look("/v1/sessions/a/cast")),
    ];
    let (commands, _) = gather(&Filter::default(), 5, events);
    let asked: Vec<&str> = commands[0]
        .requests
        .iter()
        .map(|request| request.object.as_str())
        .collect();
    assert_eq!(asked, ["/v1/audit/events", "/v1/sessions/a/cast"]);
}

#[test]
fn one_command_holds_so_many_requests() {
    let count = u32::try_from(limits::AUDIT_COMMAND_REQUESTS_MAX).unwrap() + 3;
    let events = (0..count).map(|id| event(id, &json!({}))).collect();
    let (commands, _) = gather(&Filter::default(), 5, events);
    assert_eq!((commands.len(), commands[0].more_requests), (1, 3));
    assert_eq!(
        commands[0].requests.len(),
        limits::AUDIT_COMMAND_REQUESTS_MAX
    );
}

/// The same as the console has it, the earliest first.
fn gather_one(events: Vec<Seen>) -> Command {
    let mut gathering = Gathering::new(Timestamp::from_second(1).unwrap());
    for seen in events {
        gathering.push(seen.into());
    }
    gathering.finish().unwrap()
}

fn has(command: &Command, object: &str) -> bool {
    let mut requests = command.requests.iter();
    requests.any(|request| request.object == object)
}

/// Requests of one run, of which its client says what belongs to it.
fn run_of(before: u32, middle: &[Value], after: u32, other: &Value) -> Vec<Seen> {
    let all = std::iter::repeat_n(other, before as usize)
        .chain(middle)
        .chain(std::iter::repeat_n(other, after as usize));
    (1..).zip(all).map(|(id, it)| event(id, it)).collect()
}

/// What somebody does is not hidden by any number of reads under the same session.
#[test]
fn reads_crowd_out_neither_a_delete_nor_a_denial() {
    let delete = json!({"verb": "delete", "objectRef": {"name": "web-0"}});
    let denied = json!({"verb": "delete", "objectRef": {"name": "web-1"},
        "annotations": {"portcullis.dev/decision": "deny"}, "responseStatus": {"code": 403}});
    let read = json!({"objectRef": {"resource": "configmaps"}});
    let events = || run_of(210, &[delete.clone(), denied.clone()], 210, &read);
    let (mut listed, more) = gather(&Filter::default(), 5, events());
    assert_eq!((listed.len(), more), (1, false));
    for command in [listed.remove(0), gather_one(events())] {
        let chief = command.chief().unwrap();
        assert_eq!((command.decision.as_str(), chief.code), ("deny", Some(403)));
        assert_eq!(command.asked(), "delete pods web-1 in shop (+421)");
        assert!(has(&command, "pods web-0") && has(&command, "pods web-1"));
        assert_eq!((command.requests.len(), command.more_requests), (200, 222));
        assert_eq!(command.id, "id-1");
        assert!(command.requests.is_sorted_by_key(|it| it.received));
    }
}

/// Nor is what was carried out by what was not, which weighs more.
#[test]
fn some_of_each_kind_stay() {
    let delete = json!({"verb": "delete", "objectRef": {"name": "web-0"}});
    for verb in ["list", "delete"] {
        let denied = json!({"verb": verb, "annotations": {"portcullis.dev/decision": "deny"}});
        let events = || run_of(300, std::slice::from_ref(&delete), 300, &denied);
        let (mut listed, _) = gather(&Filter::default(), 5, events());
        for command in [listed.remove(0), gather_one(events())] {
            assert!(has(&command, "pods web-0"), "{verb}");
            assert_eq!(command.chief().unwrap().decision, "deny");
            assert_eq!((command.requests.len(), command.more_requests), (200, 401));
        }
    }
}

/// `kubectl apply` of 131 objects reads and changes each.
fn apply() -> Vec<Seen> {
    let read = json!({"verb": "get"});
    let change = json!({"verb": "patch"});
    let all = std::iter::repeat_n([read, change], 131).flatten();
    (1..).zip(all).map(|(id, it)| event(id, &it)).collect()
}

#[test]
fn a_whole_run_has_every_request_until_there_are_too_many_of_all() {
    let mut whole = Recent::new(5).whole(262);
    for seen in apply().into_iter().rev() {
        assert!(whole.push(seen.into()));
    }
    assert!(whole.push(discovery(1).into()), "is counted only");
    assert!(!whole.push(event(0, &json!({})).into()));
    let commands = whole.finish();
    assert_eq!(
        (commands[0].requests.len(), commands[0].more_requests),
        (262, 0)
    );

    // In a list all changes are left.
    let (listed, _) = gather(&Filter::default(), 5, apply());
    let changes = listed[0].requests.iter().filter(|it| it.verb == "patch");
    assert_eq!((changes.count(), listed[0].more_requests), (131, 62));
}

#[test]
fn what_is_no_event_is_none() {
    for line in [&b"{\"half"[..], b"\n", b"{}", b"[]", b"{\"auditID\":1}"] {
        assert!(Seen::read(line).is_none());
    }
}

/// A request of one run that came at a minute and was over some later, in the order of the log.
fn lasting(spans: &[(u32, u32)]) -> Vec<Request> {
    let minute = |minute: u32| Timestamp::from_second(60 * i64::from(minute)).unwrap();
    let mut requests: Vec<Request> = (1..)
        .zip(spans)
        .map(|(id, (came, lasted))| {
            let times = json!({"requestReceivedTimestamp": minute(*came), "stageTimestamp": minute(came + lasted)});
            event(id, &times).into()
        })
        .collect();
    requests.sort_by_key(|request| request.at);
    requests
}

/// The ids of the requests of each command, the latest command first.
fn grouped(requests: &[Request]) -> Vec<Vec<String>> {
    let mut recent = Recent::new(usize::MAX);
    for request in requests.iter().rev() {
        assert!(recent.push(request.clone()));
    }
    recent.finish().iter().map(ids_of).collect()
}

fn ids_of(command: &Command) -> Vec<String> {
    let requests = command.requests.iter();
    let mut ids: Vec<String> = requests.map(|it| it.audit_id.clone()).collect();
    ids.sort();
    ids
}

#[test]
fn a_command_ends_with_a_long_silence_and_not_while_it_lasts() {
    let silence = u32::try_from(limits::AUDIT_COMMAND_SILENCE_MAX.as_secs() / 60).unwrap();
    for (spans, expected) in [
        (vec![(0, 0), (silence, 0)], vec![vec!["id-1", "id-2"]]),
        (
            vec![(0, 0), (silence + 1, 0)],
            vec![vec!["id-2"], vec!["id-1"]],
        ),
        // A shell of ten hours, what came before it, while it was open and when it was over.
        (
            vec![(0, 0), (1, 600), (300, 0), (601 + silence, 0)],
            vec![vec!["id-1", "id-2", "id-3", "id-4"]],
        ),
        (
            vec![(0, 0), (1, 600), (602 + silence, 0)],
            vec![vec!["id-3"], vec!["id-1", "id-2"]],
        ),
    ] {
        assert_eq!(grouped(&lasting(&spans)), expected, "{spans:?}");
    }
}

proptest::proptest! {
    /// However the log is read, a request is of the same command: all that a chain of short silences joins.
    #[test]
    fn every_way_of_reading_has_the_same_commands(spans in proptest::collection::vec((0..400_u32, 0..60_u32), 1..12)) {
        let requests = lasting(&spans);
        let silence = jiff::SignedDuration::try_from(limits::AUDIT_COMMAND_SILENCE_MAX).unwrap();
        let near = |one: &Request, other: &Request| {
            one.received.duration_since(other.at) <= silence && other.received.duration_since(one.at) <= silence
        };
        let mut expected = Vec::new();
        for request in &requests {
            let mut command = vec![request];
            let mut next = 0;
            while let Some(one) = command.get(next).copied() {
                let new = requests.iter().filter(|other| near(one, other) && !command.contains(other));
                let new: Vec<&Request> = new.collect();
                command.extend(new);
                next += 1;
            }
            let mut ids: Vec<String> = command.iter().map(|it| it.audit_id.clone()).collect();
            ids.sort();

            let mut gathering = Gathering::new(request.received);
            requests.iter().cloned().for_each(|it| gathering.push(it));
            proptest::prop_assert_eq!(&ids_of(&gathering.finish().unwrap()), &ids);
            let mut whole = Whole::new(request.received, 100);
            for it in requests.iter().rev() {
                if !whole.push(it.clone()) {
                    break;
                }
            }
            proptest::prop_assert!(command.iter().all(|it| whole.has(it)));
            proptest::prop_assert_eq!(&ids_of(&whole.finish().unwrap()), &ids);
            if !expected.contains(&ids) {
                expected.insert(0, ids);
            }
        }
        proptest::prop_assert_eq!(grouped(&requests), expected);
    }
}
