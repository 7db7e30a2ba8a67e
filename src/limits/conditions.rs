//! Bounds of request bodies, of conditions and of what they look at.

/// Values (objects, lists, texts, numbers) of one object that conditions look at: 200,000 of them take some
/// 30 MB for the time of the decision. The largest objects of a cluster, CRDs, have a tenth of it.
pub const REQUEST_OBJECT_VALUES_MAX: usize = 200_000;
/// Bytes of a live object or of the answer to a dry run that conditions look at: what etcd holds at most
/// (1.5 MiB), with managed fields in JSON.
pub const CONDITION_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the CEL text of one condition, as Kubernetes bounds those of `matchConditions`.
pub const CONDITION_BYTES_MAX: usize = 5 * 1024;
/// Levels of a condition's expression; deeper ones would take stack where they are evaluated.
pub const CONDITION_DEPTH_MAX: u16 = 48;
/// Comprehensions (`all`, `exists`, `map`, ...) inside each other in one condition.
pub const CONDITION_NESTING_MAX: usize = 4;
/// Elements that the comprehensions of one condition may visit together; past it the evaluation fails, which
/// denies. A Pod with 50 containers of 100 variables each is 5,000.
pub const CONDITION_STEPS_MAX: u64 = 100_000;
/// Conditions of one rule, as Kubernetes bounds `matchConditions`.
pub const RULE_CONDITIONS_MAX: usize = 64;
/// Values of one parameter of a condition.
pub const CONDITION_PARAMETER_VALUES_MAX: usize = 256;

/// Bytes of request bodies held at one time, by everybody. Past it: 429.
pub const REQUEST_BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of request bodies held at one time for one caller: sixteen of the largest. Past it: 429.
pub const REQUEST_BODIES_BYTES_PER_CALLER_MAX: usize = 48 * 1024 * 1024;

/// Questions to the policy for one `SelfSubjectRulesReview`: every built-in resource with every verb is some 1,500,
/// which take milliseconds; what more rules of the cluster name beyond this is left out, and said.
pub const REVIEW_QUESTIONS_MAX: usize = 20_000;
