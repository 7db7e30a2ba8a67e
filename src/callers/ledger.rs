//! Blocks in the database: each function is one step within one transaction.

use jiff::Timestamp;

use crate::approval::StoreError;
use crate::approval::store::Work;
use crate::identity::{Block, Blocks, Whom};

/// The blocks that are not over.
pub fn load(work: &Work<'_>, now: Timestamp) -> Result<Blocks, StoreError> {
    let mut found = work.prepare_cached("SELECT block FROM blocks ORDER BY at")?;
    let rows = found.query_map([], |row| row.get::<_, String>(0))?;
    let blocks: Result<Vec<Block>, StoreError> =
        rows.map(|text| Ok(serde_json::from_str(&text?)?)).collect();
    Ok(Blocks::new(blocks?, now))
}

/// Writes these in the place of what was there.
pub fn save(work: &Work<'_>, blocks: &[Block]) -> Result<(), StoreError> {
    work.execute("DELETE FROM blocks", [])?;
    let mut insert = work.prepare_cached("INSERT INTO blocks VALUES (?1, ?2, ?3, ?4)")?;
    for block in blocks {
        let (kind, name) = match &block.whom {
            Whom::User(name) => ("user", name),
            Whom::Agent(name) => ("agent", name),
        };
        let text = serde_json::to_string(block)?;
        insert.execute((kind, name, block.at.as_microsecond(), text))?;
    }
    Ok(())
}
