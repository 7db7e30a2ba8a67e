//! Explanations for people.

use std::fmt;

use super::Explanation;
use crate::policy::rule::Effect;

impl Explanation {
    fn write_what_is_seen(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.masks.is_empty() {
            writeln!(out, "  masked:  {}", self.masks.join(", "))?;
            for field in &self.masked_fields {
                writeln!(out, "           {field}")?;
            }
        }
        match &self.revealed {
            Some(field) => writeln!(out, "  revealed: {field}")?,
            None if self.reveal.is_empty() => {}
            None => {
                let fields = self.reveal.join(", ");
                writeln!(
                    out,
                    "  may be revealed: {fields} (docs/masking.md, Revealing)"
                )?;
            }
        }
        Ok(())
    }

    fn write_what_is_kept(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(record) = self.record {
            let input = if record.stdin { ", with input" } else { "" };
            writeln!(out, "  recorded: {}{input}", record.as_str())?;
        }
        if let Some(responses) = self.responses {
            writeln!(out, "  answer kept: {}", responses.as_str())?;
        }
        if let Some(audit) = self.audit {
            writeln!(out, "  audit:   {audit}, on disk before it is carried out")?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.decision {
            _ if self.undecided => "UNDECIDED",
            Effect::Allow => "ALLOWED",
            Effect::Hold => "HELD",
            Effect::Deny => "DENIED",
        };
        if self.observed {
            writeln!(
                out,
                "THE POLICY ONLY OBSERVES (mode: observe): the request goes on, whatever is decided here"
            )?;
        }
        match &self.rule {
            Some(rule) => writeln!(out, "{verdict} by rule {rule}")?,
            None => writeln!(out, "{verdict}: no rule allows it")?,
        }
        writeln!(out, "  caller:  {}", self.caller)?;
        writeln!(out, "  request: {}", self.request)?;
        self.write_what_is_seen(out)?;
        if !self.budgets.is_empty() {
            writeln!(out, "  budgets: {}", self.budgets)?;
        }
        self.write_what_is_kept(out)?;
        if let Some(hold) = &self.hold {
            writeln!(out, "  approvers: {}", hold.approvers.in_words())?;
        }
        if let Some(message) = &self.message {
            writeln!(out, "  message: {message}")?;
        }
        for help in &self.roles {
            writeln!(out, "  role:    {:?} would help: {help}", help.role)?;
        }
        writeln!(out, "\nRules in order:")?;
        for step in &self.steps {
            let effect = match step.effect {
                Some(Effect::Allow) => "allow",
                Some(Effect::Hold) => "hold",
                Some(Effect::Deny) => "deny",
                None if !step.masks.is_empty() => "mask",
                None if step.record.is_some() || step.responses.is_some() => "record",
                None if step.audit.is_some() => "audit",
                None => "reveal",
            };
            match &step.mismatch {
                None => writeln!(
                    out,
                    "  = {} ({effect}, {}) matches",
                    step.rule, step.location
                )?,
                Some(mismatch) => writeln!(
                    out,
                    "  - {} ({effect}, {}): {} is {}, the request has {}",
                    step.rule, step.location, mismatch.field, mismatch.rule, mismatch.request
                )?,
            }
            for condition in &step.when {
                writeln!(out, "      when {} {}", condition.name, condition.result)?;
                for line in condition.expression.lines() {
                    writeln!(out, "        | {line}")?;
                }
            }
        }
        write!(out, "\nPolicy version {}", self.policy_version)
    }
}
