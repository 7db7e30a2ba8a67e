//! A live inbox: what waits for an answer, as it comes and goes.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context as _;

use super::print;
use crate::cli::operator::client::Client;
use crate::cli::output::Output;
use crate::control::approvals::ApprovalList;

/// Prints every question once when it comes and a line when it is gone, until the gateway ends it.
pub(super) async fn watch(
    client: &Client,
    output: Output,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut known: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut first = true;
    client
        .lines("/v1/approvals/watch", &mut |line| {
            if output == Output::Json {
                out.write_all(line)?;
                return Ok(out.flush()?);
            }
            let list: ApprovalList =
                serde_json::from_slice(line).context("the gateway's answer is not understood")?;
            if first && list.items.is_empty() {
                writeln!(out, "nothing waits for an answer")?;
            }
            first = false;
            let mut open = BTreeMap::new();
            for approval in list.items.iter().rev() {
                // What it changes is found out a moment after it was asked.
                let looked_at = approval.requests.iter();
                let looked_at = looked_at.filter(|request| !request.shown.context.is_empty());
                let shown = (approval.requests.len(), looked_at.count());
                if known.get(&approval.id) != Some(&shown) {
                    // A bell, as somebody waits.
                    writeln!(out, "\u{7}")?;
                    print::details(approval, print::colours(), out)?;
                    let id = print::visible(&approval.id);
                    writeln!(
                        out,
                        "\n  portcullis approvals approve {id} …    or    deny {id} --reason …"
                    )?;
                }
                open.insert(approval.id.clone(), shown);
            }
            for gone in known.keys().filter(|id| !open.contains_key(*id)) {
                writeln!(out, "{}: no longer waits", print::visible(gone))?;
            }
            known = open;
            Ok(out.flush()?)
        })
        .await
}
