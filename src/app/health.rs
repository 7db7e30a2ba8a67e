//! What works at the moment: for `/readyz`, for operators and for the metrics.

use jiff::Timestamp;

use crate::gateway::Gateway;
use crate::metrics::{Health, Load};

/// Every reason why no request can be carried at the moment; empty when all is well.
pub(super) fn not_ready(gateway: &Gateway) -> Vec<String> {
    let mut reasons = Vec::new();
    if gateway.holder.draining.is_cancelled() {
        reasons.push("draining".to_owned());
    }
    if !gateway.keeper.audit.healthy() {
        reasons.push("the audit log cannot be written".to_owned());
    }
    reasons.extend(gateway.authenticator.ready().err());
    if !gateway.upstream.is_usable() {
        reasons.extend(gateway.upstream.unusable());
    }
    reasons
}

/// What does not work although requests are carried.
pub(super) fn degraded(gateway: &Gateway) -> Vec<String> {
    let mut reasons = gateway.authenticator.without_keys();
    reasons.extend(gateway.upstream.unusable());
    if masks_known_values(gateway) {
        reasons.extend(gateway.known.unread());
    }
    reasons
}

/// Tells the metrics what works at the moment.
pub(super) fn measure(gateway: &Gateway) {
    gateway.holder.desk.measure();
    let mut load = Load {
        audit_unsealed: gateway.keeper.audit.unsealed_for(),
        recording_waiting: gateway.recorder.waiting(),
        ..Load::default()
    };
    gateway.upstream.count(&mut load);
    gateway.keeper.metrics.load(load);
    let blocks = gateway.holder.in_force.blocks.current();
    gateway.keeper.metrics.measure(Health {
        audit_log: gateway.keeper.audit.healthy(),
        issuer_keys: gateway.authenticator.without_keys().is_empty(),
        clusters: gateway.upstream.unusable().is_empty(),
        known_values: !masks_known_values(gateway) || gateway.known.unread().next().is_none(),
        callers_blocked: blocks.list(Timestamp::now()).len(),
    });
}

fn masks_known_values(gateway: &Gateway) -> bool {
    let policy = gateway.holder.in_force.policy.current();
    policy.masks_known_values()
}
