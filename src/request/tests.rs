use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const TABLE: &str = include_str!("tests/table.txt");

fn parse(method: &str, target: &str) -> Result<RequestInfo, Malformed> {
    RequestInfo::parse(&Method::from_bytes(method.as_bytes()).unwrap(), target)
}

fn get(target: &str) -> RequestInfo {
    parse("GET", target).unwrap()
}

/// The reading in the table's words.
fn describe(info: &RequestInfo) -> String {
    if !info.is_resource_request {
        return format!("non-resource {} {}", info.verb, info.path);
    }
    let group = if info.api_group.is_empty() {
        "core"
    } else {
        &info.api_group
    };
    let mut text = format!(
        "{} {group}/{} {}",
        info.verb, info.api_version, info.resource
    );
    if !info.subresource.is_empty() {
        write!(text, "/{}", info.subresource).unwrap();
    }
    for (label, value) in [
        ("ns", &info.namespace),
        ("name", &info.name),
        ("fields", &info.field_selector),
        ("labels", &info.label_selector),
    ] {
        if !value.is_empty() {
            write!(text, " {label}={value}").unwrap();
        }
    }
    text
}

#[test]
fn requests_are_read_as_the_table_says() {
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in TABLE.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        rows += 1;
        let (request, reading) = line.split_once(" => ").unwrap();
        let (method, target) = request.split_once(' ').unwrap();
        let (reading, sent) = reading.split_once(" sent=").unwrap_or((reading, target));
        let good = match parse(method, target) {
            Ok(info) => describe(&info) == reading && info.target() == sent,
            Err(problem) => reading.strip_prefix("refused: ").is_some_and(|words| {
                words
                    .split(", or ")
                    .any(|w| problem.to_string().contains(w))
            }),
        };
        if !good {
            let got = parse(method, target).map(|info| (describe(&info), info.target()));
            wrong.push(format!("{line}\n    got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows >= 150, "{rows} rows");
}

#[test]
fn sizes_are_bounded() {
    let long = format!("/api/v1/{}", "a".repeat(limits().0));
    assert_eq!(
        parse("GET", &long),
        Err(Malformed::Path("is too long; 8 KiB is the limit"))
    );
    let deep = "/a".repeat(129);
    assert!(matches!(parse("GET", &deep), Err(Malformed::Path(_))));
    assert!(parse("GET", &"/a".repeat(128)).is_ok());
    let many = format!("/api/v1/pods?{}watch=1", "a=b&".repeat(256));
    assert_eq!(
        parse("GET", &many),
        Err(Malformed::Query("has more than 256 parameters"))
    );
    let most = format!("/api/v1/pods?{}watch=1", "a=b&".repeat(255));
    assert!(get(&most).is_watch());
    let wide = format!("/api/v1/pods?a={}", "b".repeat(limits().1));
    assert!(matches!(parse("GET", &wide), Err(Malformed::Query(_))));
}

fn limits() -> (usize, usize) {
    (
        crate::limits::REQUEST_PATH_BYTES_MAX,
        crate::limits::REQUEST_QUERY_BYTES_MAX,
    )
}

#[test]
fn sessions_are_found_whatever_the_method() {
    for method in ["GET", "POST", "HEAD", "PUT"] {
        for (path, kind) in [
            ("/api/v1/namespaces/n/pods/p/exec", Some(SessionKind::Exec)),
            (
                "/api/v1/namespaces/n/pods/p/attach/",
                Some(SessionKind::Attach),
            ),
            ("/api/v1/pods/p/portforward", Some(SessionKind::PortForward)),
            (
                "/api/v1/namespaces/n/pods/p/exec/more",
                Some(SessionKind::Exec),
            ),
            ("/api/v1/namespaces/n/pods/p/log", None),
            ("/api/v1/namespaces/n/pods/exec", None),
            ("/api/v1/namespaces/n/services/p/exec", None),
            ("/apis/pods.example/v1/namespaces/n/pods/p/exec", None),
        ] {
            assert_eq!(
                parse(method, path)
                    .unwrap()
                    .session()
                    .map(|session| session.kind),
                kind,
                "{method} {path}"
            );
        }
    }
}

#[test]
fn long_running_requests_are_those_of_the_api_server() {
    for (path, long) in [
        ("/api/v1/pods?watch=1", true),
        ("/api/v1/namespaces/n/pods/p/log", true),
        ("/api/v1/namespaces/n/pods/p/exec", true),
        ("/api/v1/nodes/n/proxy/x", true),
        ("/apis/x.io/v1/things/t/portforward", true),
        ("/debug/pprof/profile", true),
        ("/debug/pprof", false),
        ("/api/v1/pods", false),
        ("/version", false),
    ] {
        assert_eq!(get(path).is_long_running(), long, "{path}");
    }
}

#[test]
fn b33_proxy_names_are_split() {
    let name = |path: &str| get(path).object_name().to_owned();
    assert_eq!(name("/api/v1/nodes/https:n:10250/proxy"), "n");
    assert_eq!(name("/api/v1/nodes/n:10250/proxy"), "n");
    assert_eq!(name("/api/v1/nodes/n/proxy"), "n");
    // Only `proxy` has such names; elsewhere the colon belongs to the name.
    assert_eq!(name("/api/v1/nodes/a:b"), "a:b");
    let info = get("/api/v1/namespaces/n/services/https:svc:8443/proxy");
    let target = info.proxy_target().unwrap();
    assert_eq!((target.scheme, target.port), ("https", "8443"));
}

#[test]
fn b28_dry_run_is_never_believed_by_text_alone() {
    let pod = "/api/v1/namespaces/n/pods/p";
    let says = |method: &str, target: &str, body: &str| {
        parse(method, target).unwrap().is_dry_run(body.as_bytes())
    };
    for (method, query, body, dry) in [
        ("DELETE", "?dryRun=All", "", true),
        ("DELETE", "?dryRun=All", "{}", false),
        ("DELETE", "?dryRun=All", r#"{"dryRun":["All"]}"#, true),
        (
            "DELETE",
            "?dryRun=All",
            r#"{"dryRun":["All"],"dryRun":[]}"#,
            false,
        ),
        ("DELETE", "?dryRun=All", r#"{"DryRun":["All"]}"#, false),
        ("DELETE", "?dryRun=All", r#"{"dryRun":["All","x"]}"#, false),
        ("DELETE", "?dryRun=All", "dryRun: [All]", false),
        ("DELETE", "", r#"{"dryRun":["All"]}"#, false),
        ("DELETE", "?dryRun=all", "", false),
        ("DELETE", "?DryRun=All", "", false),
        ("DELETE", "?dryRun=%41ll", "", false),
        ("DELETE", "?dryRun=", "", false),
        ("DELETE", "?dryRun=All+", "", false),
        ("PATCH", "?dryRun=All", "{}", true),
        ("PUT", "/status?dryRun=All", "{}", true),
        ("GET", "?dryRun=All", "", false),
        ("POST", "/exec?dryRun=All", "", false),
        ("POST", "/eviction?dryRun=All", "{}", false),
    ] {
        assert_eq!(
            says(method, &format!("{pod}{query}"), body),
            dry,
            "{method} {query} {body}"
        );
    }
    let token = "/api/v1/namespaces/n/serviceaccounts/sa/token?dryRun=All";
    assert!(!says("POST", token, ""));
    let request = "/apis/certificates.k8s.io/v1/certificatesigningrequests?dryRun=All";
    assert!(!says("POST", request, ""));
    // Who serves other groups may not know the parameter.
    for (group, dry) in [
        ("apps", true),
        ("storage.k8s.io", true),
        ("example.com", false),
    ] {
        let target = format!("/apis/{group}/v1/namespaces/n/things/x?dryRun=All");
        assert_eq!(says("PUT", &target, "{}"), dry, "{group}");
        assert_eq!(says("DELETE", &target, ""), dry, "{group}");
    }
}

#[test]
fn queries_keep_order_and_repetition() {
    let info = get(
        "/api/v1/namespaces/n/pods/p/exec?command=sh&container=c&command=-c&command=a+b%2Bc&tty",
    );
    assert!(info.query.all("command").eq(["sh", "-c", "a b+c"]));
    assert_eq!(info.query.first("container"), Some("c"));
    assert!(info.query.bool("tty"));
    assert!(!info.query.bool("stdin"));
}

/// Text made of what paths and attacks are made of, so that a good share of it is accepted.
fn target() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "/api", "/v1", "/apis", "/apps", "/namespaces", "/n", "/pods", "/secrets", "/p",
            "/nodes", "/services", "/proxy", "/exec", "/status", "/watch",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "/", "//", "%2F", "%2f", "%3A", ":", "%C3%A4", "%c3", "..", "/./", ";", "%", "%25", "#",
            "\\", "?", "&", "=", "watch=", "fieldSelector=metadata.name=", "+", " ", "ä", "%00",
        ]).prop_map(str::to_owned),
        1 => "[!-~]{0,4}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn reading_never_panics(method in "[A-Z]{3,7}", target in "\\PC{0,64}") {
        let _info = parse(&method, &target);
    }

    /// What is sent upstream reads as what was decided, and is its own only spelling.
    #[test]
    fn an_accepted_request_re_encodes_to_itself(target in target()) {
        if let Ok(info) = parse("GET", &target) {
            let again = parse("GET", &info.target()).unwrap();
            prop_assert_eq!(&again, &info);
            prop_assert_eq!(again.target(), info.target());
        }
    }

    /// The server trims slashes, decodes and cuts; so does this oracle, which knows no other rule.
    #[test]
    fn accepted_parts_are_those_of_the_decoded_path(target in target()) {
        if let Ok(info) = parse("GET", &target) {
            let path = info.target();
            let path = path.split('?').next().unwrap();
            let decoded = path::percent_decode(path).unwrap();
            prop_assert_eq!(&decoded, &info.path);
            if info.is_resource_request {
                let cut: Vec<&str> = decoded.trim_matches('/').split('/').collect();
                prop_assert!(cut.ends_with(&info.parts.iter().map(String::as_str).collect::<Vec<_>>()));
            }
        }
    }
}

#[test]
fn a_field_is_revealed_of_one_object_and_with_a_reason() {
    const ASKED: &str = "portcullis.dev/reveal=data.password&portcullis.dev/reason=INC-42+at+night";
    let db = "/api/v1/namespaces/shop/secrets/db";
    let info = get(&format!("{db}?{ASKED}"));
    let reveal = Reveal {
        field: "data.password",
        reason: "INC-42 at night",
    };
    assert_eq!(info.reveal(), Some(reveal));
    assert!(info.changes_or_reveals());
    assert_eq!(get(db).reveal(), None);
    // The query of a proxied request is its backend's.
    let proxied = get(&format!("/api/v1/namespaces/shop/pods/p/proxy/x?{ASKED}"));
    assert_eq!(proxied.reveal(), None);

    let field = "portcullis.dev/reveal=data.password";
    let long = format!("{field}&portcullis.dev/reason={}", "x".repeat(257));
    for (method, target) in [
        ("GET", format!("/api/v1/namespaces/shop/secrets?{ASKED}")),
        ("GET", format!("{db}/status?{ASKED}")),
        (
            "GET",
            format!("/api/v1/namespaces/shop/secrets?watch=1&{ASKED}"),
        ),
        (
            "GET",
            format!("/api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Ddb&{ASKED}"),
        ),
        ("GET", format!("/version?{ASKED}")),
        ("PATCH", format!("{db}?{ASKED}")),
        ("DELETE", format!("{db}?{ASKED}")),
        ("GET", format!("{db}?{field}")),
        ("GET", format!("{db}?portcullis.dev/reason=INC-42")),
        ("GET", format!("{db}?{field}&portcullis.dev/reason=")),
        ("GET", format!("{db}?{field}&portcullis.dev/reason=+")),
        ("GET", format!("{db}?{field}&portcullis.dev/reason=a%0Ab")),
        ("GET", format!("{db}?{long}")),
        ("GET", format!("{db}?{ASKED}&{field}")),
        (
            "GET",
            format!("{db}?{ASKED}&portcullis%2Edev/reveal=data.token"),
        ),
    ] {
        let refused = parse(method, &target).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("portcullis.dev/"), "{target}: {text}");
    }
}
