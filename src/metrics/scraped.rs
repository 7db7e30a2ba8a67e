//! What is asked for when somebody scrapes, instead of being counted as it happens.

use std::time::Duration;

use metrics::Gauge;

use super::Labels;

pub(super) const APPROVALS_OPEN: &str = "portcullis_approvals_open";
pub(super) const APPROVALS_OLDEST: &str = "portcullis_approvals_oldest_seconds";
pub(super) const GRANTS_ACTIVE: &str = "portcullis_grants_active";
pub(super) const CALLERS_BLOCKED: &str = "portcullis_callers_blocked";
pub(super) const HEALTHCHECKS: &str = "portcullis_healthcheck";
/// The name that every client library of Prometheus uses.
pub(super) const RESIDENT_MEMORY: &str = "process_resident_memory_bytes";

/// What works and what does not, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an answer of its own, and goes to a gauge of its own"
)]
pub struct Health {
    /// The audit log can be written.
    pub audit_log: bool,
    /// The keys of every issuer are known and fresh enough to verify tokens.
    pub issuer_keys: bool,
    /// Every cluster can be used.
    pub clusters: bool,
    /// The Secrets of every cluster have been read, or need not be.
    pub known_values: bool,
    /// How many users and agents are blocked.
    pub callers_blocked: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Scraped {
    healthchecks: [Gauge; 4],
    callers_blocked: Gauge,
    approvals_open: Gauge,
    approvals_oldest: Gauge,
    grants_active: Gauge,
    resident_memory: Gauge,
}

impl Scraped {
    pub(super) fn register(gauge: &impl Fn(&'static str, Labels<'_>) -> Gauge) -> Self {
        Self {
            healthchecks: ["audit-log", "issuer-keys", "clusters", "known-values"]
                .map(|name| gauge(HEALTHCHECKS, &[("name", name)])),
            callers_blocked: gauge(CALLERS_BLOCKED, &[]),
            approvals_open: gauge(APPROVALS_OPEN, &[]),
            approvals_oldest: gauge(APPROVALS_OLDEST, &[]),
            grants_active: gauge(GRANTS_ACTIVE, &[]),
            resident_memory: gauge(RESIDENT_MEMORY, &[]),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "they are few")]
    pub(super) fn approvals(&self, (open, oldest): (usize, Duration), grants: usize) {
        self.approvals_open.set(open as f64);
        self.approvals_oldest.set(oldest.as_secs_f64());
        self.grants_active.set(grants as f64);
    }

    pub(super) fn measure(&self, health: Health) {
        let works = [
            health.audit_log,
            health.issuer_keys,
            health.clusters,
            health.known_values,
        ];
        for (gauge, works) in self.healthchecks.iter().zip(works) {
            gauge.set(f64::from(u8::from(works)));
        }
        #[expect(clippy::cast_precision_loss, reason = "they are few")]
        self.callers_blocked.set(health.callers_blocked as f64);
        if let Some(bytes) = resident_memory() {
            self.resident_memory.set(bytes);
        }
    }
}

/// Bytes of this process in RAM, as Linux says (proc(5): `VmRSS`, in KiB).
fn resident_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u32 = line.split_whitespace().next()?.parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn what_does_not_work_is_zero() {
        let (metrics, handle) = Metrics::new();
        metrics.measure(Health {
            audit_log: false,
            issuer_keys: true,
            clusters: true,
            known_values: false,
            callers_blocked: 0,
        });
        let text = handle.render();
        for (name, works) in [
            ("audit-log", 0),
            ("issuer-keys", 1),
            ("clusters", 1),
            ("known-values", 0),
        ] {
            let line = format!("portcullis_healthcheck{{name=\"{name}\"}} {works}");
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        }
        if cfg!(target_os = "linux") {
            assert!(
                !text.contains("process_resident_memory_bytes 0\n"),
                "{text}"
            );
        }
    }
}
