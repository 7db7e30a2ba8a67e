//! Gathers the lines that requests hand over, so that the thread that writes is woken once for all that are there
//! at a time, and wakes nobody but this task: waking costs more than writing a line.

use tokio::sync::{mpsc, oneshot};

use super::{Entry, Until};
use crate::limits;

/// Lines that are written at once.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lines: Vec<Vec<u8>>,
    /// Told when they are in the file.
    pub(super) written: oneshot::Sender<()>,
    /// Told when they are on the disk and sealed, if anybody waits for that; dropped when that cannot be.
    pub(super) sealed: Option<oneshot::Sender<()>>,
}

/// Hands everything over to the thread, batch after batch; ends with the last sender.
pub(super) async fn gather(mut queue: mpsc::Receiver<Entry>, batches: mpsc::Sender<Batch>) {
    while let Some(first) = queue.recv().await {
        // Requests that can go on do so first: their lines are written along.
        tokio::task::yield_now().await;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        let (mut for_file, mut for_seal) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(Entry { line, waits }) = next {
            bytes += line.len();
            lines.push(line);
            match waits {
                Some((kept, Until::Written)) => for_file.push(kept),
                Some((kept, Until::Sealed)) => for_seal.push(kept),
                None => {}
            }
            let room = bytes < limits::AUDIT_BATCH_BYTES_MAX;
            next = room.then(|| queue.try_recv().ok()).flatten();
        }
        let (written, in_file) = oneshot::channel();
        let (sealed, on_disk) = (!for_seal.is_empty()).then(oneshot::channel).unzip();
        let batch = Batch {
            lines,
            written,
            sealed,
        };
        if batches.send(batch).await.is_err() {
            return; // the thread is gone: whoever waits is told by what is dropped
        }
        if in_file.await.is_ok() {
            tell(for_file);
        }
        if let Some(on_disk) = on_disk
            && on_disk.await.is_ok()
        {
            tell(for_seal);
        }
    }
}

fn tell(waiting: Vec<oneshot::Sender<()>>) {
    for kept in waiting {
        kept.send(()).ok(); // whoever waited may be gone
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test waits for its own tasks")]
mod tests {
    use super::*;

    fn entry(line: &str, until: Option<Until>) -> (Entry, oneshot::Receiver<()>) {
        let (kept, done) = oneshot::channel();
        let waits = until.map(|until| (kept, until));
        let line = line.as_bytes().to_vec();
        (Entry { line, waits }, done)
    }

    #[tokio::test]
    async fn what_is_there_is_written_at_once_and_everybody_hears_of_what_they_wait_for() {
        let (lines, queue) = mpsc::channel(9);
        let (batches, mut thread) = mpsc::channel(1);
        tokio::spawn(gather(queue, batches));
        let (first, mut in_file) = entry("a", Some(Until::Written));
        let (second, mut on_disk) = entry("b", Some(Until::Sealed));
        let (third, _nobody) = entry("c", None);
        for entry in [first, second, third] {
            lines.send(entry).await.unwrap();
        }
        let batch = thread.recv().await.unwrap();
        assert_eq!(batch.lines, [b"a", b"b", b"c"]);
        in_file.try_recv().unwrap_err();
        batch.written.send(()).unwrap();
        in_file.await.unwrap();
        on_disk.try_recv().unwrap_err();
        batch.sealed.unwrap().send(()).unwrap();
        on_disk.await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_sealed_is_in_the_file_all_the_same() {
        let (lines, queue) = mpsc::channel(9);
        let (batches, mut thread) = mpsc::channel(1);
        tokio::spawn(gather(queue, batches));
        let (strict, on_disk) = entry("a", Some(Until::Sealed));
        let (other, in_file) = entry("b", Some(Until::Written));
        for entry in [strict, other] {
            lines.send(entry).await.unwrap();
        }
        let batch = thread.recv().await.unwrap();
        batch.written.send(()).unwrap();
        drop(batch.sealed);
        in_file.await.unwrap();
        on_disk.await.unwrap_err();
    }

    #[tokio::test]
    async fn a_batch_is_bounded_and_the_rest_comes_next() {
        let (lines, queue) = mpsc::channel(9);
        let (batches, mut thread) = mpsc::channel(1);
        tokio::spawn(gather(queue, batches));
        let long = "x".repeat(limits::AUDIT_BATCH_BYTES_MAX / 2);
        for _ in 0..3 {
            lines.send(entry(&long, None).0).await.unwrap();
        }
        let batch = thread.recv().await.unwrap();
        assert_eq!(batch.lines.len(), 2);
        batch.written.send(()).unwrap();
        assert_eq!(thread.recv().await.unwrap().lines.len(), 1);
    }
}
