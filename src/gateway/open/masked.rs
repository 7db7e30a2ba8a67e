//! Masks what a command prints, before the client and any recording see it.

mod archive;

use std::sync::Arc;

use self::archive::Archive;
use crate::session::{Filter, Filters, StreamType};
use crate::transform::{MaskReport, TextMasker, TextMasks};

/// What filters the output of a session; `report` counts what it masks. The stream that is an archive keeps
/// its length.
pub(super) fn filters(
    texts: TextMasks,
    report: Arc<MaskReport>,
    archive: Option<StreamType>,
) -> Filters {
    Box::new(move |stream| {
        let masked = |texts: &TextMasks| Masked {
            masker: TextMasker::new(texts),
            report: Arc::clone(&report),
        };
        if archive == Some(stream) {
            Box::new(Archive::new(masked(&texts.clone().fitting())))
        } else {
            Box::new(masked(&texts))
        }
    })
}

struct Masked {
    masker: TextMasker,
    report: Arc<MaskReport>,
}

impl Filter for Masked {
    fn push(&mut self, bytes: &[u8], output: &mut Vec<u8>) {
        self.masker.push_to(bytes, output);
        self.masker.report_to(&self.report);
    }

    fn waits(&self) -> bool {
        self.masker.waits()
    }

    fn release(&mut self, output: &mut Vec<u8>) {
        self.masker.release_to(output);
        self.masker.report_to(&self.report);
    }

    fn finish(&mut self, output: &mut Vec<u8>) {
        self.masker.finish_to(output);
        self.masker.report_to(&self.report);
    }
}
