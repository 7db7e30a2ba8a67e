use http::Method;

use super::*;

fn get(target: &str) -> RequestInfo {
    RequestInfo::parse(&Method::GET, target).unwrap()
}

const EXEC: &str = "exec/shop/web/app?command=id&command=-u&output=1&error=true&tty=0&input&container=other&stdin=true";

#[test]
fn a_kubelets_sessions_are_read_in_its_own_words() {
    for (node, tail, kind, container) in [
        ("n1", EXEC, SessionKind::Exec, "app"),
        (
            "https:n1:10250",
            "exec/shop/web/uid-1/app/",
            SessionKind::Exec,
            "app",
        ),
        (
            "n1:10250",
            "attach/shop/web/app?input=1&tty=1",
            SessionKind::Attach,
            "app",
        ),
        (
            "n1",
            "attach/shop/web/uid-1/app",
            SessionKind::Attach,
            "app",
        ),
        (
            "http%3An1%3A",
            "portForward/shop/web?port=80,443&port=8080&ports=1",
            SessionKind::PortForward,
            "",
        ),
        (
            "n1",
            "portForward/shop/web/uid-1",
            SessionKind::PortForward,
            "",
        ),
    ] {
        let info = get(&format!("/api/v1/nodes/{node}/proxy/{tail}"));
        // What the API server decides on stays what it is.
        assert_eq!(
            (info.verb.as_str(), &*info.qualified_resource()),
            ("get", "nodes/proxy")
        );
        let session = info.session().unwrap_or_else(|| panic!("{tail}"));
        assert_eq!(
            (session.kind, session.container),
            (kind, container),
            "{tail}"
        );
        assert_eq!(
            (session.node, session.namespace, session.pod),
            (Some("n1"), "shop", "web"),
            "{tail}"
        );
        assert!(info.may_be_kubelet_session());
    }
}

#[test]
fn a_kubelets_parameters_are_its_own() {
    let words = |tail: &str| {
        let info = get(&format!("/api/v1/nodes/n1/proxy/{tail}"));
        let session = info.session().unwrap();
        let flags = [
            session.stdin(),
            session.stdout(),
            session.stderr(),
            session.tty(),
        ];
        let command: Vec<String> = session.command().map(str::to_owned).collect();
        (
            flags,
            command,
            session.ports().collect::<Vec<u16>>(),
            session.target(),
        )
    };
    let (flags, command, _, target) = words(EXEC);
    assert_eq!(flags, [false, true, false, false], "nothing but 1 is yes");
    assert_eq!(
        (command.join(" ").as_str(), target.as_str()),
        ("id -u", "shop/web/app")
    );
    assert_eq!(
        words("attach/n/p/c?input=1&tty=1&tty=0").0,
        [true, false, false, true]
    );
    let (_, _, ports, target) = words("portForward/n/p?port=80,443&port=8080&ports=1");
    assert_eq!(
        (ports.as_slice(), target.as_str()),
        (&[80, 443, 8080][..], "n/p")
    );
}

#[test]
fn what_a_kubelet_may_take_for_a_session_and_is_none_here_is_known() {
    for tail in [
        "exec",
        "exec/shop",
        "exec/shop/web",
        "exec/shop/web/uid-1/app/more",
        "Exec/shop/web/app",
        "exec//web/app",
        "exec/shop/web/a%70p",
        "exec/shop/web%2Fapp",
        "%65xec/shop/web/app",
        "x/exec/shop/web/app",
        "exec/shop/web/app%20",
        "attach/shop/web",
        "portforward/shop/web",
        "portForward/shop/web/uid-1/more",
        "run/shop/web/app?cmd=id",
        "cri/exec/token-1",
    ] {
        let info = get(&format!("/api/v1/nodes/n1/proxy/{tail}"));
        assert_eq!(info.session(), None, "{tail}");
        assert!(info.may_be_kubelet_session(), "{tail}");
    }
    for path in [
        "/api/v1/nodes/n1/proxy/metrics",
        "/api/v1/namespaces/n/pods/p/proxy/exec/shop/web/app",
        "/api/v1/nodes/n1/exec/shop/web/app",
        "/apis/example.com/v1/nodes/n1/proxy/exec/shop/web/app",
    ] {
        let info = get(path);
        assert_eq!(info.session(), None, "{path}");
    }
}
