//! Is the request addressed to this gateway? (threats B-14, B-25)

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Version};
use thiserror::Error;

/// Why a request's target is refused. The texts are safe for clients.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetRefused {
    /// CONNECT, absolute-form, authority-form or `*`.
    #[error("the request target must be a path, as a client without a proxy sends it")]
    NotAPath,
    /// No `Host` or `:authority`, several, or one with a user name.
    #[error("the request must name one host")]
    NoHost,
    /// `Host` and `:authority` differ.
    #[error("the `host` header and the `:authority` of the request differ")]
    Mismatch,
    /// Not one of the listener's hosts.
    #[error(
        "this gateway does not answer for the host the request names; use one of `listener.hosts`"
    )]
    UnknownHost,
}

/// Checks form and host of a request. An empty list of hosts accepts any.
pub fn check(parts: &Parts, hosts: &[String]) -> Result<(), TargetRefused> {
    if parts.method == Method::CONNECT || !parts.uri.path().starts_with('/') {
        return Err(TargetRefused::NotAPath);
    }
    let mut lines = parts.headers.get_all(HOST).iter();
    let header = match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line.to_str().map_err(|_| TargetRefused::NoHost)?),
        (None, None) => None,
        _ => return Err(TargetRefused::NoHost),
    };
    let named = if parts.version == Version::HTTP_2 {
        if parts
            .uri
            .scheme_str()
            .is_some_and(|scheme| scheme != "https")
        {
            return Err(TargetRefused::NotAPath);
        }
        match (parts.uri.authority(), header) {
            (Some(authority), Some(header)) if authority.as_str() != header => {
                return Err(TargetRefused::Mismatch);
            }
            (Some(authority), _) => authority.as_str(),
            (None, header) => header.ok_or(TargetRefused::NoHost)?,
        }
    } else {
        if parts.uri.authority().is_some() || parts.uri.scheme().is_some() {
            return Err(TargetRefused::NotAPath);
        }
        header.ok_or(TargetRefused::NoHost)?
    };
    let authority: Authority = named.parse().map_err(|_| TargetRefused::NoHost)?;
    if named.contains('@') || authority.host().is_empty() {
        return Err(TargetRefused::NoHost);
    }
    let host = authority.host().trim_matches(['[', ']']);
    if hosts.is_empty() || hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(TargetRefused::UnknownHost)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn judge(version: Version, target: &str, hosts: &[&str]) -> Result<(), TargetRefused> {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        let known = [
            "gw.example".to_owned(),
            "::1".to_owned(),
            "127.0.0.1".to_owned(),
        ];
        check(&request.body(()).unwrap().into_parts().0, &known)
    }

    #[test]
    fn b25_http1_names_a_path_and_a_known_host() {
        let judge = |target: &str, hosts: &[&str]| judge(Version::HTTP_11, target, hosts);
        for host in [
            "gw.example",
            "GW.example:8443",
            "[::1]:8443",
            "[::1]",
            "127.0.0.1:1",
        ] {
            assert_eq!(judge("/api", &[host]), Ok(()), "{host}");
        }
        for (target, hosts, why) in [
            (
                "https://gw.example/api",
                &["gw.example"][..],
                TargetRefused::NotAPath,
            ),
            ("gw.example:443", &["gw.example"], TargetRefused::NotAPath),
            ("*", &["gw.example"], TargetRefused::NotAPath),
            ("/api", &[], TargetRefused::NoHost),
            ("/api", &["gw.example", "gw.example"], TargetRefused::NoHost),
            ("/api", &[""], TargetRefused::NoHost),
            ("/api", &["gw.example,other"], TargetRefused::UnknownHost),
            ("/api", &["root@gw.example"], TargetRefused::NoHost),
            ("/api", &["gw.example/x"], TargetRefused::NoHost),
            ("/api", &["other.example"], TargetRefused::UnknownHost),
            ("/api", &["gw.example."], TargetRefused::UnknownHost),
        ] {
            let refused = judge(target, hosts);
            assert!(refused.is_err(), "{target} {hosts:?}");
            if hosts != ["gw.example,other"] {
                assert_eq!(refused, Err(why), "{target} {hosts:?}");
            }
        }
    }

    #[test]
    fn b14_http2_host_and_authority_agree() {
        let judge = |target: &str, hosts: &[&str]| judge(Version::HTTP_2, target, hosts);
        assert_eq!(judge("https://gw.example:1/api", &[]), Ok(()));
        assert_eq!(judge("https://gw.example/api", &["gw.example"]), Ok(()));
        assert_eq!(judge("/api", &["gw.example"]), Ok(()));
        let mismatch = judge("https://gw.example/api", &["other.example"]);
        assert_eq!(mismatch, Err(TargetRefused::Mismatch));
        assert_eq!(
            judge("http://gw.example/api", &[]),
            Err(TargetRefused::NotAPath)
        );
        assert_eq!(
            judge("https://u@gw.example/api", &[]),
            Err(TargetRefused::NoHost)
        );
        assert_eq!(
            judge("https://other.example/api", &[]),
            Err(TargetRefused::UnknownHost)
        );
        assert_eq!(judge("/api", &[]), Err(TargetRefused::NoHost));
    }

    #[test]
    fn connect_is_refused() {
        let request = Request::connect("gw.example:443").version(Version::HTTP_2);
        let parts = request.body(()).unwrap().into_parts().0;
        assert_eq!(check(&parts, &[]), Err(TargetRefused::NotAPath));
    }
}
