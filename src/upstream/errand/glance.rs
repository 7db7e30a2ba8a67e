//! A look at one object for whoever has to answer a question about it: a GET as the caller of the question, so
//! that nobody is shown what the caller may not read, and never anything else.

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Request, Response};

use crate::gateway::body;
use crate::policy::Question;
use crate::transform::Unreleased;
use crate::upstream::identity::UpstreamIdentity;
use crate::upstream::{Call, Upstream, UpstreamError};

impl Upstream {
    /// Asks for the object at `path`, which has no query.
    pub async fn glance(
        &self,
        path: &str,
        question: &Question,
        call: &Call,
    ) -> Result<Response<Unreleased>, UpstreamError> {
        let mut request = Request::new(body::empty());
        *request.uri_mut() = path.parse().map_err(|_error| UpstreamError::Unbuildable)?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let agent = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let identity = UpstreamIdentity::asking(question, &call.audit_id)?;
        let response = self
            .named(question.cluster())?
            .send(request, &identity, call)
            .await?;
        Ok(response.map(Unreleased::new))
    }
}
