//! What the gateway asks an API server on its own account, with its own rights: nothing but Secrets, to know
//! what to mask. No caller can bring one about, and no answer to one can be sent to a caller.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Request, Response};

use super::identity::UpstreamIdentity;
use super::{Call, Upstream, UpstreamError};
use crate::gateway::body;
use crate::limits::{KNOWN_VALUES_PAGE, KNOWN_VALUES_WATCH};
use crate::transform::Unreleased;

/// Everything but Helm's releases, which are large, compressed, and hold no value as others write it.
const SECRETS: &str = "/api/v1/secrets?fieldSelector=type%21%3Dhelm.sh%2Frelease.v1";

/// One reading of Secrets.
#[derive(Clone, Debug)]
pub struct Errand {
    target: String,
    long_running: bool,
}

impl Errand {
    /// A page of the Secrets of all namespaces; `proceed` is what the page before said.
    #[must_use]
    pub fn list_secrets(proceed: &str) -> Self {
        let mut target = format!("{SECRETS}&limit={KNOWN_VALUES_PAGE}");
        if !proceed.is_empty() {
            target.push_str("&continue=");
            target.push_str(&quoted(proceed));
        }
        Self {
            target,
            long_running: false,
        }
    }

    /// What happens to Secrets after this resource version.
    #[must_use]
    pub fn watch_secrets(version: &str) -> Self {
        let version = quoted(version);
        let seconds = KNOWN_VALUES_WATCH.as_secs();
        Self {
            target: format!(
                "{SECRETS}&watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={seconds}"
            ),
            long_running: true,
        }
    }
}

/// A value of a query, percent-encoded (RFC 3986).
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            quoted.push(char::from(byte));
        } else {
            quoted.push('%');
            for digit in [byte >> 4, byte & 15] {
                quoted.extend(char::from_digit(digit.into(), 16));
            }
        }
    }
    quoted
}

impl Upstream {
    /// Runs an errand at a cluster.
    pub async fn run(
        &self,
        errand: &Errand,
        cluster: &str,
    ) -> Result<Response<Unreleased>, UpstreamError> {
        let mut request = Request::new(body::empty());
        *request.uri_mut() = errand
            .target
            .parse()
            .map_err(|_error| UpstreamError::Unbuildable)?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let agent = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let call = Call {
            audit_id: uuid::Uuid::now_v7().to_string(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            long_running: errand.long_running,
            streams: true,
        };
        let cluster = self.named(cluster)?;
        let response = cluster
            .send(request, &UpstreamIdentity::gateway(), &call)
            .await?;
        Ok(response.map(Unreleased::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secrets_are_read_and_what_servers_say_is_quoted() {
        let list = Errand::list_secrets("");
        assert!(list.target.starts_with("/api/v1/secrets?") && !list.long_running);
        let next = Errand::list_secrets("a&limit=0/..");
        assert!(next.target.ends_with("&continue=a%26limit%3d0%2f%2e%2e"));
        let watch = Errand::watch_secrets("12&x");
        assert!(watch.target.contains("&resourceVersion=12%26x&") && watch.long_running);
    }
}
