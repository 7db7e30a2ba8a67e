use super::*;
use crate::identity::Identity;
use crate::policy::Permit;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn client(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

fn with_ours<T>(build: impl FnOnce(&Ours<'_>) -> T) -> T {
    let permit = Permit::for_tests(Identity::for_tests("alice", &["devs", "ops"]), "demo", &[]);
    let identity = UpstreamIdentity::of(&permit, "audit-1").unwrap();
    build(&Ours {
        identity: &identity,
        authorization: Some(&HeaderValue::from_static("Bearer gateway")),
        peer: PEER,
        audit_id: &HeaderValue::from_static("audit-1"),
    })
}

fn sent(lines: &[(&str, &str)]) -> Result<Vec<String>, HeadersRefused> {
    with_ours(|ours| request(&client(lines), ours, None)).map(|headers| list(&headers))
}

fn sent_upgrade(lines: &[(&str, &str)]) -> Result<Vec<String>, HeadersRefused> {
    let host = HeaderValue::from_static("kubernetes:6443");
    with_ours(|ours| upgrade(&client(lines), ours, &host)).map(|headers| list(&headers))
}

fn list(headers: &HeaderMap) -> Vec<String> {
    let mut list: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    list.sort();
    list
}

/// What every request carries, whatever the client sent.
const OURS: [&str; 8] = [
    "accept-encoding: identity",
    "audit-id: audit-1",
    "authorization: Bearer gateway",
    "impersonate-extra-portcullis.dev%2frequest-id: audit-1",
    "impersonate-group: devs",
    "impersonate-group: ops",
    "impersonate-user: alice",
    "x-forwarded-for: 192.0.2.7",
];

#[test]
fn b02_b05_b07_b08_b40_only_named_headers_pass() {
    let hostile = [
        ("authorization", "Bearer client"),
        ("authorization", "Basic eDp5"),
        ("proxy-authorization", "Basic eDp5"),
        (
            "connection",
            "close, Impersonate-User, Authorization, audit-id",
        ),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("trailer", "impersonate-user"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
        ("upgrade-insecure-requests", "1"),
        ("transfer-encoding", "chunked"),
        ("content-length", "12"),
        ("expect", "100-continue"),
        ("host", "evil.example"),
        ("audit-id", "forged"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-user", "root"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-client-cert", "By=x"),
        ("front-proxy-user", "root"),
        ("cookie", "session=1"),
        ("traceparent", "00-1-2-01"),
        ("baggage", "a=b"),
        ("range", "bytes=0-1"),
        ("if-match", "x"),
        ("if-none-match", "x"),
        ("x-stream-protocol-version", "v5.channel.k8s.io"),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ("kubectl-command", "kubectl get"),
    ];
    assert_eq!(sent(&hostile).unwrap(), OURS);
}

#[test]
fn what_the_api_server_needs_passes() {
    let lines = sent(&[
        ("accept", "application/json"),
        ("accept", "application/yaml"),
        ("accept-encoding", "br, gzip"),
        ("content-type", "application/json"),
        ("user-agent", "kubectl/v1.36"),
    ])
    .unwrap();
    for line in [
        "accept: application/json",
        "accept-encoding: gzip",
        "content-type: application/json",
        "user-agent: kubectl/v1.36",
    ] {
        assert!(lines.iter().any(|sent| sent == line), "{line} in {lines:?}");
    }
    assert_eq!(lines.len(), OURS.len() + 3);
}

#[test]
fn b39_only_gzip_or_identity_is_asked_for() {
    for (accepted, expected) in [
        ("gzip", "gzip"),
        ("GZIP , br", "gzip"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.5", "identity"),
        ("*", "identity"),
        ("zstd, br", "identity"),
        ("", "identity"),
    ] {
        let lines = sent(&[("accept-encoding", accepted)]).unwrap();
        assert!(
            lines.contains(&format!("accept-encoding: {expected}")),
            "{accepted}"
        );
    }
}

#[test]
fn b01_a35_a_client_that_says_who_it_is_is_refused() {
    for name in [
        "Impersonate-User",
        "impersonate-group",
        "IMPERSONATE-UID",
        "impersonate-extra-scopes",
        "impersonate-",
        "X-Remote-User",
        "x-remote-group",
        "x-remote-extra-a",
        "X-REMOTE-UID",
    ] {
        for value in ["", "root"] {
            let expected = HeadersRefused::ClientIdentity(name.to_ascii_lowercase());
            assert_eq!(sent(&[(name, value)]).unwrap_err(), expected);
            assert_eq!(
                refuse_client_identity(&client(&[(name, value)])).unwrap_err(),
                expected
            );
        }
    }
}

#[test]
fn b06_names_with_underscores_are_refused() {
    for name in [
        "Impersonate_User",
        "x-remote_user",
        "x_remote-user",
        "audit_id",
        "_",
    ] {
        let refused = sent(&[(name, "root")]).unwrap_err();
        assert_eq!(
            refused,
            HeadersRefused::AmbiguousName(name.to_ascii_lowercase())
        );
    }
}

#[test]
fn two_content_types_are_refused() {
    let lines = [
        ("content-type", "application/json"),
        ("content-type", "application/yaml"),
    ];
    assert_eq!(
        sent(&lines).unwrap_err(),
        HeadersRefused::Repeated("content-type")
    );
}

#[test]
fn an_upgrade_keeps_its_own_headers_and_a_line_for_each_version() {
    let lines = sent_upgrade(&[
        ("connection", "close, Impersonate-User, upgrade"),
        ("upgrade", "spdy/3.1"),
        ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("origin", "https://evil.example"),
        ("authorization", "Bearer client"),
    ])
    .unwrap();
    let mut expected: Vec<_> = OURS
        .iter()
        .filter(|line| !line.starts_with("accept"))
        .copied()
        .collect();
    expected.extend([
        "connection: Upgrade",
        "host: kubernetes:6443",
        "upgrade: SPDY/3.1",
        "x-stream-protocol-version: v3.channel.k8s.io",
        "x-stream-protocol-version: v4.channel.k8s.io",
    ]);
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn a_websocket_upgrade_never_offers_extensions_or_a_second_credential() {
    let good = [
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ];
    let lines = sent_upgrade(&good).unwrap();
    assert!(lines.contains(&"sec-websocket-protocol: v5.channel.k8s.io".to_owned()));
    assert!(
        lines
            .iter()
            .all(|line| !line.starts_with("sec-websocket-extensions"))
    );

    let bearer = "v4.channel.k8s.io, Base64url.bearer.authorization.k8s.io.dG9rZW4";
    for bad in [
        vec![("upgrade", "websocket"), ("sec-websocket-protocol", bearer)],
        vec![("upgrade", "websocket"), ("upgrade", "SPDY/3.1")],
        vec![("upgrade", "websocket, SPDY/3.1")],
        vec![("upgrade", "h2c")],
        vec![("connection", "upgrade")],
        vec![("upgrade", "websocket"), ("impersonate-user", "root")],
    ] {
        assert!(sent_upgrade(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_answer_loses_what_concerned_the_upstream_hop() {
    let mut headers = client(&[
        ("connection", "close, x-internal"),
        ("x-internal", "1"),
        ("transfer-encoding", "chunked"),
        ("alt-svc", "h3=\":443\""),
        ("set-cookie", "a=b"),
        ("www-authenticate", "Basic"),
        ("content-type", "application/json"),
        ("warning", "299 - \"a\""),
        ("warning", "299 - \"b\""),
        ("audit-id", "1"),
    ]);
    clean_response(&mut headers);
    assert_eq!(
        list(&headers),
        [
            "audit-id: 1",
            "content-type: application/json",
            "warning: 299 - \"a\"",
            "warning: 299 - \"b\""
        ]
    );
}
