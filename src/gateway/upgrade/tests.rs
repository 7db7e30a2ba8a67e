use http::{Request, request};

use super::*;
use crate::request::RequestInfo;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn parts(method: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut builder = Request::builder()
        .method(method)
        .uri("/api/v1/namespaces/n/pods/p/exec");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

const WS: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", KEY),
    ("sec-websocket-version", "13"),
];
const SPDY_HEADERS: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];

fn ws(extra: &[(&str, &str)]) -> Result<Offer, UpgradeError> {
    Offer::parse(&parts("GET", &[&WS[..], extra].concat()), SessionKind::Exec)
}

fn spdy(extra: &[(&str, &str)]) -> Result<Offer, UpgradeError> {
    Offer::parse(
        &parts("POST", &[&SPDY_HEADERS[..], extra].concat()),
        SessionKind::Exec,
    )
}

fn answer(headers: &[(&str, &str)]) -> response::Parts {
    let mut builder = Response::builder().status(101);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

#[test]
fn kubectl_over_websocket_is_agreed_on() {
    let offer = ws(&[("sec-websocket-protocol", "v5.channel.k8s.io")]).unwrap();
    let agreed = offer
        .accept(&answer(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", ACCEPT),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ("x-from-upstream", "left out"),
        ]))
        .unwrap();
    assert_eq!(
        lines(agreed.response().unwrap().headers()),
        [
            "connection: Upgrade",
            &format!("sec-websocket-accept: {ACCEPT}"),
            "sec-websocket-protocol: v5.channel.k8s.io",
            "upgrade: websocket",
        ]
    );
    let info = RequestInfo::parse(
        &Method::GET,
        "/api/v1/namespaces/n/pods/p/exec?command=sh&stdin=true&stdout&stderr=0",
    )
    .unwrap();
    let session = agreed.session(&info.session().unwrap());
    assert_eq!(
        session.streams,
        Streams::RemoteCommand {
            stdin: true,
            stdout: true,
            stderr: false,
            tty: false
        }
    );
}

#[test]
fn spdy_versions_keep_their_lines_and_joined_ones_get_theirs() {
    let offer = spdy(&[
        ("x-stream-protocol-version", "v5.channel.k8s.io"),
        (
            "x-stream-protocol-version",
            "v9.channel.k8s.io, v4.channel.k8s.io",
        ),
        ("content-length", "0"),
    ])
    .unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(
        "connection",
        HeaderValue::from_static("close, Impersonate-User"),
    );
    offer.rewrite(&mut headers).unwrap();
    let sent: Vec<_> = headers
        .get_all("x-stream-protocol-version")
        .iter()
        .collect();
    assert_eq!(sent, ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
    assert_eq!(headers["connection"], "Upgrade");
    assert_eq!(headers["upgrade"], "SPDY/3.1");
}

#[test]
fn a22_the_bearer_subprotocol_and_extensions_are_never_passed_on() {
    let extra = [
        (
            "sec-websocket-protocol",
            "base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io,v2.channel.k8s.io",
        ),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("origin", "https://gateway:8443"),
        ("host", "gateway:8443"),
    ];
    let offer = ws(&extra).unwrap();
    let mut headers = parts("GET", &[&WS[..], &extra].concat()).headers;
    headers.remove("host");
    offer.rewrite(&mut headers).unwrap();
    assert_eq!(
        lines(&headers),
        [
            "connection: Upgrade",
            &format!("sec-websocket-key: {KEY}"),
            "sec-websocket-protocol: v4.channel.k8s.io",
            "sec-websocket-version: 13",
            "upgrade: websocket",
        ]
    );
}

#[test]
fn b16_connection_and_upgrade_are_exact() {
    let cases: [&[(&str, &str)]; 9] = [
        &[("upgrade", "websocket")],
        &[("upgrade", "websocket"), ("connection", "xxupgradexx")],
        &[
            ("upgrade", "websocket"),
            ("connection", "Upgrade, Impersonate-User"),
        ],
        &[("upgrade", "websocket"), ("connection", "close")],
        &[
            ("upgrade", "websocket, SPDY/3.1"),
            ("connection", "Upgrade"),
        ],
        &[
            ("upgrade", "websocket"),
            ("upgrade", "SPDY/3.1"),
            ("connection", "Upgrade"),
        ],
        &[("upgrade", "h2c"), ("connection", "Upgrade")],
        &[("upgrade", ""), ("connection", "Upgrade")],
        &[("connection", "Upgrade")],
    ];
    for headers in cases {
        let headers = [&WS[2..], headers].concat();
        let result = Offer::parse(&parts("GET", &headers), SessionKind::Exec);
        assert!(
            matches!(result, Err(UpgradeError::BadRequest(_))),
            "{headers:?}: {result:?}"
        );
    }
    assert!(ws(&[("connection", "keep-alive")]).is_ok());
}

#[test]
fn b18_an_upgrade_request_has_no_body() {
    for extra in [
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("expect", "100-continue"),
        ("content-length", "00"),
    ] {
        assert!(
            matches!(ws(&[extra]), Err(UpgradeError::BadRequest(_))),
            "{extra:?}"
        );
    }
    assert!(ws(&[("content-length", "0")]).is_ok());
    assert!(ws(&[("content-length", "0"), ("content-length", "0")]).is_err());
}

#[test]
fn websocket_handshakes_are_checked() {
    let with = |at: usize, value: &'static str| {
        let mut headers = WS;
        headers[at].1 = value;
        Offer::parse(&parts("GET", &headers), SessionKind::Exec)
    };
    assert!(with(2, "short").is_err());
    assert!(with(2, "").is_err());
    assert!(with(3, "8").is_err());
    assert_eq!(
        Offer::parse(&parts("POST", &WS), SessionKind::Exec),
        Err(UpgradeError::MethodNotAllowed(
            "a WebSocket upgrade is sent with GET"
        ))
    );
    let mut http2 = parts("GET", &WS);
    http2.version = Version::HTTP_2;
    assert!(Offer::parse(&http2, SessionKind::Exec).is_err());
    // SPDY over GET is legal.
    let headers = [
        &SPDY_HEADERS[..],
        &[("x-stream-protocol-version", "channel.k8s.io")],
    ]
    .concat();
    assert!(Offer::parse(&parts("GET", &headers), SessionKind::Attach).is_ok());
    assert!(Offer::parse(&parts("PUT", &headers), SessionKind::Attach).is_err());
}

#[test]
fn b46_a_foreign_origin_is_refused() {
    let from = |origin: &'static str| ws(&[("origin", origin), ("host", "gateway:8443")]);
    assert!(from("https://GATEWAY:8443").is_ok());
    for origin in [
        "https://evil.example",
        "null",
        "",
        "gateway:8443",
        "https://gateway:8443.evil.example",
    ] {
        assert_eq!(from(origin), Err(UpgradeError::ForeignOrigin), "{origin:?}");
    }
}

#[test]
fn c10_only_protocols_of_the_allow_list_are_offered_upstream() {
    let offered = |kind, names: &'static str| {
        let headers = [&WS[..], &[("sec-websocket-protocol", names)]].concat();
        Offer::parse(&parts("GET", &headers), kind).map(|offer| offer.protocols)
    };
    assert_eq!(
        offered(
            SessionKind::Exec,
            "v9.channel.k8s.io, v5.channel.k8s.io,v4.base64.channel.k8s.io"
        )
        .unwrap(),
        ["v5.channel.k8s.io", "v4.base64.channel.k8s.io"]
    );
    assert_eq!(
        offered(
            SessionKind::PortForward,
            "SPDY/3.1+portforward.k8s.io, v5.channel.k8s.io, v4.channel.k8s.io"
        )
        .unwrap(),
        ["SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io"]
    );
    for (kind, names) in [
        (SessionKind::Exec, "v9.channel.k8s.io"),
        (SessionKind::Exec, "binary.k8s.io"),
        (SessionKind::Exec, "SPDY/3.1+portforward.k8s.io"),
        (SessionKind::PortForward, "SPDY/3.1+other.k8s.io"),
    ] {
        assert!(
            matches!(offered(kind, names), Err(UpgradeError::NoCommonProtocol(_))),
            "{names}"
        );
    }
    assert!(matches!(
        spdy(&[("x-stream-protocol-version", "v9.channel.k8s.io")]),
        Err(UpgradeError::NoCommonProtocol(_))
    ));
    assert!(matches!(spdy(&[]), Err(UpgradeError::BadRequest(_))));
}

#[test]
fn b17_a_lying_101_is_refused() {
    let good = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", ACCEPT),
        ("sec-websocket-protocol", "v4.channel.k8s.io"),
    ];
    let offer = ws(&[(
        "sec-websocket-protocol",
        "v5.channel.k8s.io, v4.channel.k8s.io",
    )])
    .unwrap();
    assert!(offer.accept(&answer(&good)).is_ok());
    for (at, value) in [
        (0, "close"),
        (0, "xxupgradexx"),
        (1, "SPDY/3.1"),
        (1, "websocket2"),
        (2, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        (3, "base64.channel.k8s.io"),
        (3, ""),
    ] {
        let mut headers = good;
        headers[at].1 = value;
        assert!(
            offer.accept(&answer(&headers)).is_err(),
            "{:?}",
            headers[at]
        );
    }
    for missing in 0..good.len() {
        let mut headers = good.to_vec();
        headers.remove(missing);
        assert!(
            offer.accept(&answer(&headers)).is_err(),
            "without {:?}",
            good[missing]
        );
    }
    for extra in [
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-accept", ACCEPT),
        ("upgrade", "websocket"),
        ("content-length", "12"),
        ("transfer-encoding", "chunked"),
    ] {
        let headers = [&good[..], &[extra]].concat();
        assert!(offer.accept(&answer(&headers)).is_err(), "with {extra:?}");
    }
    let mut two_hundred = answer(&good);
    two_hundred.status = StatusCode::OK;
    assert!(offer.accept(&two_hundred).is_err());
}

#[test]
fn an_answer_without_a_protocol_needs_an_offer_that_allows_it() {
    let no_protocol = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", ACCEPT),
        ("sec-websocket-protocol", ""),
    ];
    let agreed = ws(&[]).unwrap().accept(&answer(&no_protocol)).unwrap();
    assert!(
        !agreed
            .response()
            .unwrap()
            .headers()
            .contains_key("sec-websocket-protocol")
    );
    let spdy_answer = answer(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]);
    assert!(
        spdy(&[("x-stream-protocol-version", "channel.k8s.io")])
            .unwrap()
            .accept(&spdy_answer)
            .is_ok()
    );
    assert!(
        spdy(&[("x-stream-protocol-version", "v4.channel.k8s.io")])
            .unwrap()
            .accept(&spdy_answer)
            .is_err()
    );
}
