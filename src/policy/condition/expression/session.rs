//! What an expression reads of `request.session`: a review knows some of it, and not the rest.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use super::Walk;
use crate::policy::condition::scope;

impl Walk<'_> {
    /// `request.session`.
    pub(super) fn is_session(&self, node: &IdedExpr) -> bool {
        matches!(&node.expr, Expr::Select(select) if select.field == "session"
            && matches!(&select.operand.expr, Expr::Ident(name) if name == "request")
            && !self.bound.iter().any(|bound| bound == "request"))
    }

    /// A field of a session. Some of them say nothing that the rest of the request does not.
    pub(super) fn session(&mut self, field: &str) {
        self.uses.request = true;
        self.uses.request_fields |= scope::IS_SESSION
            | match field {
                "kind" | "node" => 0,
                "namespace" => scope::bit("namespace"),
                "pod" => scope::bit("name"),
                _ => scope::bit("session"),
            };
    }

    /// Whether the call asks no more of the session than whether there is one.
    pub(super) fn asks_for_a_session(&self, call: &CallExpr) -> bool {
        let is_null = |node: &IdedExpr| matches!(&node.expr, Expr::Literal(LiteralValue::Null));
        matches!(
            call.func_name.as_str(),
            operators::EQUALS | operators::NOT_EQUALS
        ) && matches!(call.args.as_slice(), [session, null] if self.is_session(session) && is_null(null))
    }
}
