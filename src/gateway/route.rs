//! Which cluster is meant: `/clusters/<name>/…`, or the root for the default one.
//!
//! `server: https://gateway/clusters/x` in a kubeconfig puts the prefix before every path
//! (wire.md §9.2). It is compared as it was sent: an escaped prefix is not a prefix.

use http::Uri;
use http::uri::PathAndQuery;

use crate::gateway::refuse::Refusal;

/// The clusters that can be reached, and the one at the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clusters {
    /// Every cluster's name.
    pub names: Vec<String>,
    /// The cluster also served at the root, if there is one.
    pub default: Option<String>,
}

impl Clusters {
    /// The cluster a request goes to, and the request target without the prefix.
    pub fn route<'a>(&'a self, uri: &'a Uri) -> Result<(&'a str, &'a str), Refusal> {
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let Some(prefixed) = target.strip_prefix("/clusters/") else {
            return match &self.default {
                Some(name) => Ok((name, target)),
                None => Err(Refusal::not_found(format!(
                    "no default cluster is served here; set the kubeconfig's server to https://<gateway>/clusters/<name>, where <name> is one of: {}",
                    self.names.join(", ")
                ))),
            };
        };
        let end = prefixed.find(['/', '?']).unwrap_or(prefixed.len());
        let (name, rest) = prefixed.split_at(end);
        match self.names.iter().find(|known| *known == name) {
            Some(known) => Ok((known, if rest.is_empty() { "/" } else { rest })),
            // The names are no secret: every caller may read them from any refusal of the default cluster.
            None => Err(Refusal::not_found(format!(
                "no cluster of that name is served here; the names are: {}",
                self.names.join(", ")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters() -> Clusters {
        Clusters {
            names: vec!["east".into(), "west".into()],
            default: Some("east".into()),
        }
    }

    #[test]
    fn the_prefix_is_stripped_and_the_rest_kept_byte_for_byte() {
        for (uri, cluster, target) in [
            ("/api/v1/pods?limit=5", "east", "/api/v1/pods?limit=5"),
            (
                "/clusters/west/api/v1/a%2Fb?x=%20",
                "west",
                "/api/v1/a%2Fb?x=%20",
            ),
            ("/clusters/west", "west", "/"),
            (
                "/clusters/east/clusters/west/api",
                "east",
                "/clusters/west/api",
            ),
            ("/%63lusters/west/api", "east", "/%63lusters/west/api"),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(clusters().route(&uri).unwrap(), (cluster, target), "{uri}");
        }
    }

    #[test]
    fn unknown_names_and_a_missing_default_say_what_there_is() {
        for uri in [
            "/clusters/north/api",
            "/clusters//api",
            "/clusters/We%73t/api",
            "/clusters/west%2Fapi",
        ] {
            let uri: Uri = uri.parse().unwrap();
            let refusal = clusters().route(&uri).unwrap_err();
            assert_eq!(refusal.code(), 404, "{uri}");
            assert!(refusal.message().contains("east, west"));
        }
        let none = Clusters {
            default: None,
            ..clusters()
        };
        assert_eq!(
            none.route(&"/api".parse().unwrap()).unwrap_err().code(),
            404
        );
    }
}
