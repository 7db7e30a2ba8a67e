//! The nodes that rewriting adds to an expression.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelBool;

use crate::policy::condition::budget::{BUDGET, SIZED, STEP};

/// `@step(budget) ? condition : false`: fails where nothing is left, whatever the condition is.
pub(super) fn paid(id: u64, condition: IdedExpr) -> IdedExpr {
    let step = invoke(id, STEP, vec![ident(id, BUDGET)]);
    invoke(
        id,
        operators::CONDITIONAL,
        vec![step, condition, literal(id, false)],
    )
}

pub(super) fn sized(node: &mut IdedExpr) {
    if matches!(node.expr, Expr::Literal(_)) {
        return;
    }
    let inner = std::mem::take(node);
    let id = inner.id;
    *node = invoke(id, SIZED, vec![ident(id, BUDGET), inner]);
}

pub(super) fn invoke(id: u64, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr {
        id,
        expr: Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target: None,
            args,
        }),
    }
}

pub(super) fn ident(id: u64, name: &str) -> IdedExpr {
    IdedExpr {
        id,
        expr: Expr::Ident(name.to_owned()),
    }
}

pub(super) fn literal(id: u64, value: bool) -> IdedExpr {
    IdedExpr {
        id,
        expr: Expr::Literal(LiteralValue::Boolean(CelBool::from(value))),
    }
}
