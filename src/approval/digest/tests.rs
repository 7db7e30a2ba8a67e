//! Whatever differs makes another digest, and what only looks different does not.

#![expect(
    clippy::too_many_lines,
    clippy::items_after_statements,
    reason = "a table, and the type of its rows beside it"
)]

use http::Method;

use super::*;

const EXEC: &str =
    "/api/v1/namespaces/shop/pods/web/exec?command=sh&command=-c&container=app&stdin=true";

struct Made {
    identity: Identity,
    cluster: &'static str,
    method: Method,
    target: String,
    content_type: &'static str,
    body: &'static [u8],
    object: &'static str,
    rule: &'static str,
    terms: Hold,
}

impl Made {
    fn new() -> Self {
        Self {
            identity: Identity::for_tests("alice", &["dev", "shop"]),
            cluster: "demo",
            method: Method::DELETE,
            target: "/api/v1/namespaces/shop/pods/web?gracePeriodSeconds=0&pretty=true".to_owned(),
            content_type: "application/json",
            body: b"{}",
            object: "5f8e-1",
            rule: "p/delete",
            terms: Hold::by_one_of(&["sre"]),
        }
    }

    fn both(&self) -> (Digest, Digest) {
        let info = RequestInfo::parse(&self.method, &self.target).unwrap();
        let case = Case {
            identity: &self.identity,
            cluster: self.cluster,
            method: &self.method,
            info: &info,
            content_type: self.content_type,
            body: self.body,
            object: self.object,
            rule: self.rule,
            terms: &self.terms,
        };
        (case.digest(), case.class())
    }
}

#[test]
fn h_01_every_part_of_a_request_is_bound() {
    let (first, class) = Made::new().both();
    let alice = || Identity::for_tests("alice", &["dev", "shop"]);
    type Change = Box<dyn Fn(&mut Made)>;
    let changes: Vec<(&str, bool, Change)> = vec![
        (
            "user",
            false,
            Box::new(|made| made.identity = Identity::for_tests("bob", &["dev", "shop"])),
        ),
        (
            "groups",
            false,
            Box::new(|made| made.identity = Identity::for_tests("alice", &["dev"])),
        ),
        (
            "split groups",
            false,
            Box::new(|made| made.identity = Identity::for_tests("alice", &["devshop"])),
        ),
        (
            "uid",
            false,
            Box::new(move |made| made.identity = alice().with_uid("7")),
        ),
        (
            "extra",
            false,
            Box::new(move |made| made.identity = alice().with_extra("a.b/scope", &["x"])),
        ),
        (
            "agent",
            false,
            Box::new(move |made| made.identity = alice().with_agent("bot", &[])),
        ),
        (
            "chain",
            false,
            Box::new(move |made| made.identity = alice().with_agent("bot", &["hub"])),
        ),
        ("cluster", false, Box::new(|made| made.cluster = "prod")),
        ("rule", false, Box::new(|made| made.rule = "p/other")),
        (
            "approvers",
            false,
            Box::new(|made| made.terms.approvers.groups = vec!["ops".to_owned()]),
        ),
        (
            "count",
            false,
            Box::new(|made| made.terms.approvers.count = 2),
        ),
        (
            "width",
            false,
            Box::new(|made| made.terms.same_class = Some(std::time::Duration::from_mins(5))),
        ),
        (
            "namespace",
            false,
            Box::new(|made| made.target = made.target.replace("shop", "test")),
        ),
        (
            "resource",
            false,
            Box::new(|made| made.target = made.target.replace("pods", "services")),
        ),
        ("verb", false, Box::new(|made| made.method = Method::PUT)),
        (
            "subresource",
            false,
            Box::new(|made| made.target = made.target.replace("web?", "web/status?")),
        ),
        (
            "group",
            false,
            Box::new(|made| made.target = made.target.replace("/api/v1", "/apis/x.y/v1")),
        ),
        // The class leaves these open.
        (
            "name",
            true,
            Box::new(|made| made.target = made.target.replace("web", "db")),
        ),
        (
            "version",
            true,
            Box::new(|made| made.target = made.target.replace("/v1/", "/v2/")),
        ),
        (
            "query value",
            true,
            Box::new(|made| made.target = made.target.replace("Seconds=0", "Seconds=1")),
        ),
        (
            "query key",
            true,
            Box::new(|made| made.target.push_str("&dryRun=All")),
        ),
        ("body", true, Box::new(|made| made.body = b"{} ")),
        (
            "another object of the same name",
            true,
            Box::new(|made| made.object = "5f8e-2"),
        ),
        (
            "an object that is gone",
            true,
            Box::new(|made| made.object = ""),
        ),
        ("no body", true, Box::new(|made| made.body = b"")),
        (
            "content type",
            true,
            Box::new(|made| made.content_type = "application/yaml"),
        ),
    ];
    let mut seen = vec![first.clone()];
    for (what, same_class, change) in changes {
        let mut made = Made::new();
        change(&mut made);
        let (digest, other) = made.both();
        assert!(!seen.contains(&digest), "{what}");
        assert_eq!(other == class, same_class, "{what}");
        seen.push(digest);
    }
    assert_ne!(first, class);
}

#[test]
fn what_no_server_tells_apart_is_one_request() {
    let (first, class) = Made::new().both();
    let reordered = Made {
        target: "/api/v1/namespaces/shop/pods/web?pretty=true&gracePeriodSeconds=0".to_owned(),
        identity: Identity::for_tests("alice", &["shop", "dev"]).with_token_id("renewed"),
        terms: Hold {
            wait: Some(std::time::Duration::from_secs(1)),
            ..Hold::by_one_of(&["sre"])
        },
        ..Made::new()
    };
    assert_eq!(reordered.both(), (first, class));
}

#[test]
fn both_transports_of_a_session_are_one_request_and_its_arguments_keep_their_order() {
    let session = |method, target: &str| {
        Made {
            method,
            target: target.to_owned(),
            content_type: "",
            body: b"",
            ..Made::new()
        }
        .both()
    };
    let websocket = session(Method::GET, EXEC);
    assert_eq!(websocket, session(Method::POST, EXEC));
    let turned = EXEC.replace("command=sh&command=-c", "command=-c&command=sh");
    let turned = session(Method::GET, &turned);
    assert_ne!(websocket.0, turned.0);
    assert_eq!(websocket.1, turned.1);
    // A get of the pod is no session.
    let get = session(Method::GET, "/api/v1/namespaces/shop/pods/web");
    assert_ne!(get.1, websocket.1);
}

#[test]
fn a_field_that_is_revealed_is_a_class_of_its_own() {
    let reveal = |field: &str| {
        let target = format!(
            "/api/v1/namespaces/shop/secrets/db?portcullis.dev/reveal={field}&portcullis.dev/reason=x"
        );
        Made {
            method: Method::GET,
            target,
            content_type: "",
            body: b"",
            ..Made::new()
        }
        .both()
        .1
    };
    assert_ne!(reveal("data.a"), reveal("data.b"));
}

#[test]
fn of_what_is_proxied_a_class_is_not_wider_than_what_was_seen() {
    let class = |target: &str| {
        Made {
            method: Method::POST,
            target: target.to_owned(),
            ..Made::new()
        }
        .both()
        .1
    };
    // A kubelet's paths name namespaces and pods that the request itself does not.
    let shell = class("/api/v1/nodes/n1/proxy/exec/shop/web/app?command=sh");
    for other in [
        "/api/v1/nodes/n1/proxy/exec/kube-system/etcd/etcd?command=sh",
        "/api/v1/nodes/n1/proxy/attach/shop/web/app",
        "/api/v1/nodes/n2/proxy/exec/shop/web/app?command=sh",
    ] {
        assert_ne!(class(other), shell, "{other}");
    }
    let same = class("/api/v1/nodes/n1/proxy/exec/shop/web/app?command=id");
    assert_eq!(same, shell);
    let run = class("/api/v1/nodes/n1/proxy/run/shop/web/app?cmd=id");
    assert_ne!(run, class("/api/v1/nodes/n1/proxy/checkpoint/shop/web/app"));
    let service = class("/api/v1/namespaces/shop/services/grafana/proxy/a");
    assert_eq!(
        service,
        class("/api/v1/namespaces/shop/services/grafana/proxy/b?x=y")
    );
    assert_ne!(
        service,
        class("/api/v1/namespaces/shop/services/vault/proxy/a")
    );
}
