//! CEL: checked when a policy is loaded, evaluated within a budget.
//!
//! The `cel` crate parses and evaluates; it checks no names and counts no steps. Here a parsed expression is
//! walked once: names, functions and the fields of our own variables must exist, nesting is bounded, and what
//! could take long is made to pay ([`super::budget`]).

mod session;
mod tree;

use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, operators};
use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, Value};

use super::budget::{self, BUDGET, EQUAL, MEMBER};
use super::scope::{self, Scope};
use super::value::Node;
use crate::limits;
use tree::{ident, invoke, literal, paid, sized};

/// Functions that expressions may call; those of the standard library, of optional values and of texts that make
/// nothing larger than what they are given. Dates are not among them.
const FUNCTIONS: [&str; 27] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "type",
    "dyn",
    "charAt",
    "indexOf",
    "lastIndexOf",
    "lowerAscii",
    "upperAscii",
    "split",
    "substring",
    "trim",
    "of",
    "none",
    "hasValue",
    "value",
    "orValue",
    "or",
    "optMap",
];
/// Operators as functions, besides those that are rewritten.
const OPERATORS: [&str; 19] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::OPT_INDEX,
    operators::OPT_SELECT,
    operators::NOT_STRICTLY_FALSE,
    "!_",
    "-_",
];
/// Names of types, for `type(x) == string`.
const TYPES: [&str; 10] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

/// What every expression is evaluated in; `None` would be a faulty constant, and then nothing compiles.
static ENVIRONMENT: LazyLock<Option<Arc<Env>>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(cel::extensions::strings).ok()?;
    budget::declare(&mut env).ok()?;
    Some(Arc::new(env))
});

/// What an expression looks at.
#[expect(
    clippy::struct_excessive_bools,
    reason = "one for each variable, and any of them may be used"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::policy) struct Uses {
    pub(in crate::policy) object: bool,
    pub(in crate::policy) old_object: bool,
    /// `request.dryRun`, which only the body of a DELETE tells for certain.
    pub(in crate::policy) dry_run: bool,
    variables: bool,
    request: bool,
    caller: bool,
    /// Which fields of `request`, as bits in the order of [`scope::REQUEST`], and [`scope::IS_SESSION`].
    pub(in crate::policy) request_fields: u16,
}

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Expression {
    tree: IdedExpr,
    pub(super) uses: Uses,
}

impl Expression {
    /// Compiles `text`, which may name the parameters `parameters`. Errors say where in the text.
    pub(super) fn compile(text: &str, parameters: &[&str]) -> Result<Self, String> {
        if text.len() > limits::CONDITION_BYTES_MAX {
            return Err(format!(
                "is longer than {} bytes; split it into several conditions",
                limits::CONDITION_BYTES_MAX
            ));
        }
        let env = ENVIRONMENT.as_ref().ok_or("cannot be compiled")?;
        let parser = env
            .parser()
            .max_recursion_depth(limits::CONDITION_DEPTH_MAX);
        let (mut tree, places) = parser.parse_with_source_info(text).map_err(|errors| {
            let first = errors.errors.first();
            first.map_or_else(
                || "is not CEL".to_owned(),
                |error| {
                    format!(
                        "is not CEL: {} at {}:{}",
                        error.msg, error.pos.0, error.pos.1
                    )
                },
            )
        })?;
        let mut walk = Walk {
            uses: Uses::default(),
            parameters,
            bound: Vec::new(),
            nesting: 0,
            depth: 0,
        };
        walk.rewrite(&mut tree).map_err(|(id, why)| {
            let at = places.offset_for(id).map(|(start, _)| place(text, start));
            match at {
                Some((line, column)) => format!("{why} at {line}:{column}"),
                None => why,
            }
        })?;
        Ok(Self {
            tree,
            uses: walk.uses,
        })
    }

    /// Whether it holds, or why that cannot be told.
    pub(super) fn evaluate(&self, scope: &Scope<'_>, parameters: &Node) -> Result<bool, String> {
        let env = ENVIRONMENT.as_ref().ok_or("cannot be evaluated")?;
        let mut context = Context::with_env(Arc::clone(env));
        let mut bind = |name: &str, node: Node| context.add_variable_as_val(name, node.into_val());
        let uses = self.uses;
        if uses.object {
            bind("object", scope.object());
        }
        if uses.old_object {
            bind("oldObject", scope.old_object());
        }
        if uses.variables {
            bind("variables", scope.variables());
        }
        if uses.request {
            bind("request", scope.request());
        }
        if uses.caller {
            bind("caller", scope.caller());
        }
        bind("params", parameters.clone());
        context.add_variable_as_val(BUDGET, Box::new(scope.budget.clone()));
        let result = Value::resolve_val(&self.tree, &context);
        if scope.budget.is_spent() {
            return Err(format!(
                "it takes more than {} steps",
                limits::CONDITION_STEPS_MAX
            ));
        }
        let value = result.map_err(|error| words(&error))?;
        value
            .downcast_ref::<CelBool>()
            .map(|value| *value.inner())
            .ok_or_else(|| format!("it is a {}, not a bool", value.get_type().name()))
    }
}

/// An error without values of the object: they may be secret, and the caller reads this.
fn words(error: &ExecutionError) -> String {
    const NAME_CHARS_MAX: usize = 64;
    match error {
        ExecutionError::NoSuchKey(key) => {
            let key: String = key.chars().take(NAME_CHARS_MAX).collect();
            format!("there is no {key:?}; guard it with has()")
        }
        ExecutionError::NoSuchOverload(error) => error.to_string(),
        ExecutionError::UnexpectedType { got, want } => {
            format!("it finds a {got} instead of a {want}")
        }
        ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
        ExecutionError::FunctionError { function, .. } => format!("{function} fails"),
        _ => "its evaluation fails".to_owned(),
    }
}

/// Line and column, from 1, of a place counted in characters.
fn place(text: &str, offset: u32) -> (usize, usize) {
    let before = text
        .chars()
        .take(usize::try_from(offset).unwrap_or_default());
    before.fold((1, 1), |(line, column), character| {
        if character == '\n' {
            (line + 1, 1)
        } else {
            (line, column + 1)
        }
    })
}

/// What is wrong, and the node's number.
type Problem = (u64, String);

struct Walk<'a> {
    uses: Uses,
    parameters: &'a [&'a str],
    /// Variables of the comprehensions around.
    bound: Vec<String>,
    nesting: usize,
    depth: u16,
}

impl Walk<'_> {
    fn rewrite(&mut self, node: &mut IdedExpr) -> Result<(), Problem> {
        // Macros make trees deeper than what was written, by a constant factor.
        if self.depth >= limits::CONDITION_DEPTH_MAX * 4 {
            return Err((node.id, "is nested too deep".to_owned()));
        }
        self.depth += 1;
        let id = node.id;
        match &mut node.expr {
            Expr::Literal(_) => {}
            Expr::Ident(name) => self.name(id, name, None)?,
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(name) if !self.bound.contains(name) => {
                    self.name(id, &name.clone(), Some(&select.field))?;
                }
                _ if self.is_session(&select.operand) => self.session(&select.field),
                _ => self.rewrite(&mut select.operand)?,
            },
            Expr::List(list) => self.all(&mut list.elements)?,
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    match &mut entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.rewrite(&mut entry.key)?;
                            self.rewrite(&mut entry.value)?;
                        }
                        EntryExpr::StructField(_) => return Err((id, unsupported())),
                    }
                }
            }
            Expr::Call(call) => self.call(id, call)?,
            Expr::Comprehension(comprehension) => self.comprehension(id, comprehension)?,
            Expr::Struct(_) | Expr::Unspecified => return Err((id, unsupported())),
        }
        self.depth -= 1;
        Ok(())
    }

    fn all(&mut self, nodes: &mut [IdedExpr]) -> Result<(), Problem> {
        nodes.iter_mut().try_for_each(|node| self.rewrite(node))
    }

    /// A variable, and the field of it that is read.
    fn name(&mut self, id: u64, name: &str, field: Option<&str>) -> Result<(), Problem> {
        if self.bound.iter().any(|bound| bound == name) {
            return Ok(());
        }
        let fields: &[&str] = match name {
            "object" => {
                self.uses.object = true;
                return Ok(());
            }
            "oldObject" => {
                self.uses.old_object = true;
                return Ok(());
            }
            "variables" => {
                self.uses.variables = true;
                self.uses.object = true;
                &scope::VARIABLES
            }
            "request" => {
                self.uses.request = true;
                self.uses.request_fields |= field.map_or(u16::MAX, scope::bit);
                self.uses.dry_run |= field.is_none_or(|field| field == "dryRun");
                &scope::REQUEST
            }
            "caller" => {
                self.uses.caller = true;
                &scope::CALLER
            }
            "params" => self.parameters,
            name if TYPES.contains(&name) || name == "optional" => return Ok(()),
            _ => {
                let known = "object, oldObject, request, caller, variables, params";
                return Err((
                    id,
                    format!("has an unknown variable {name:?} (known are {known})"),
                ));
            }
        };
        match field {
            Some(field) if !fields.contains(&field) => {
                let known = if fields.is_empty() {
                    "none".to_owned()
                } else {
                    fields.join(", ")
                };
                Err((
                    id,
                    format!("reads {name}.{field}, which does not exist (known are {known})"),
                ))
            }
            _ => Ok(()),
        }
    }

    fn call(&mut self, id: u64, call: &mut CallExpr) -> Result<(), Problem> {
        if let Some(target) = &mut call.target {
            self.rewrite(target)?;
        }
        if self.asks_for_a_session(call) {
            self.session("kind");
        } else {
            self.all(&mut call.args)?;
        }
        match call.func_name.as_str() {
            operators::EQUALS => EQUAL.clone_into(&mut call.func_name),
            operators::NOT_EQUALS => {
                let args = std::mem::take(&mut call.args);
                operators::LOGICAL_NOT.clone_into(&mut call.func_name);
                call.args = vec![invoke(id, EQUAL, args)];
            }
            operators::IN => {
                MEMBER.clone_into(&mut call.func_name);
                call.args.insert(0, ident(id, BUDGET));
            }
            operators::ADD => call.args.iter_mut().for_each(sized),
            name if OPERATORS.contains(&name) => {}
            name if FUNCTIONS.contains(&name) => {
                let sizes = call.target.as_deref_mut().into_iter().chain(&mut call.args);
                // `optional.of` has a namespace for a target.
                sizes
                    .filter(|node| !matches!(&node.expr, Expr::Ident(name) if name == "optional"))
                    .for_each(sized);
            }
            name => return Err((id, format!("calls an unknown function {name:?}"))),
        }
        Ok(())
    }

    fn comprehension(&mut self, id: u64, loops: &mut ComprehensionExpr) -> Result<(), Problem> {
        self.rewrite(&mut loops.iter_range)?;
        self.rewrite(&mut loops.accu_init)?;
        self.nesting += 1;
        if self.nesting > limits::CONDITION_NESTING_MAX {
            let most = limits::CONDITION_NESTING_MAX;
            return Err((
                id,
                format!("has more than {most} comprehensions inside each other"),
            ));
        }
        let outside = self.bound.len();
        self.bound.push(loops.accu_var.clone());
        self.rewrite(&mut loops.result)?;
        self.bound.push(loops.iter_var.clone());
        self.bound.extend(loops.iter_var2.clone());
        // `map` and `filter` are recognised by their shape and built in place; it must not be lost.
        let accumulator = loops.accu_var.clone();
        let appends = matches!(loops.loop_cond.expr, Expr::Literal(_))
            && matches!(&loops.result.expr, Expr::Ident(name) if *name == accumulator);
        if let (true, Some(items)) = (appends, appended(&mut loops.loop_step, &accumulator)) {
            self.rewrite(items)?;
            let step = std::mem::take(&mut loops.loop_step);
            loops.loop_step = match step.expr {
                Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
                    let mut arguments = call.args.into_iter();
                    let mut guard = arguments.next().unwrap_or_default();
                    self.rewrite(&mut guard)?;
                    let mut paid = vec![paid(id, guard)];
                    paid.extend(arguments);
                    invoke(id, operators::CONDITIONAL, paid)
                }
                expr => {
                    let step = IdedExpr { id, expr };
                    let arguments =
                        vec![paid(id, literal(id, true)), step, ident(id, &accumulator)];
                    invoke(id, operators::CONDITIONAL, arguments)
                }
            };
        } else {
            self.rewrite(&mut loops.loop_step)?;
            self.rewrite(&mut loops.loop_cond)?;
            let condition = std::mem::take(&mut loops.loop_cond);
            loops.loop_cond = paid(id, condition);
        }
        self.bound.truncate(outside);
        self.nesting -= 1;
        Ok(())
    }
}

/// The `[x]` of `accumulator + [x]`, or of the same in a conditional.
fn appended<'n>(step: &'n mut IdedExpr, accumulator: &str) -> Option<&'n mut IdedExpr> {
    let is_accumulator =
        |node: &IdedExpr| matches!(&node.expr, Expr::Ident(name) if name == accumulator);
    let guarded = match &step.expr {
        Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
            Some(call.args.last().is_some_and(is_accumulator) && call.args.len() == 3)
        }
        _ => None,
    };
    let sum = match (guarded, &mut step.expr) {
        (None, step) => step,
        (Some(true), Expr::Call(call)) => &mut call.args.get_mut(1)?.expr,
        _ => return None,
    };
    let Expr::Call(call) = sum else {
        return None;
    };
    match (call.func_name.as_str(), call.args.as_mut_slice()) {
        (operators::ADD, [sum, items])
            if is_accumulator(sum) && matches!(items.expr, Expr::List(_)) =>
        {
            Some(items)
        }
        _ => None,
    }
}

fn unsupported() -> String {
    "uses what conditions do not support; write it with maps and lists".to_owned()
}
