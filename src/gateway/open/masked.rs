//! Masks what a command prints, before the client and any recording see it.

mod archive;
mod withheld;

use std::sync::Arc;
use std::time::Duration;

use self::archive::Archive;
use self::withheld::FinalStatus;
use crate::session::{Filter, Filters, StreamType};
use crate::transform::{MaskReport, TextMasker, TextMasks};

pub(super) use self::withheld::Withheld;

/// What filters the output of a session; `report` counts what it masks. The stream that is an archive keeps
/// its length, and says by `withheld` that it cannot.
pub(super) fn filters(
    texts: TextMasks,
    report: Arc<MaskReport>,
    archive: Option<StreamType>,
    withheld: Withheld,
) -> Filters {
    Box::new(move |stream| {
        let masked = |texts: &TextMasks| Masked {
            masker: TextMasker::new(texts),
            report: Arc::clone(&report),
        };
        match stream {
            _ if archive == Some(stream) => {
                let texts = texts.clone().fitting();
                Box::new(Archive::new(masked(&texts), &texts, withheld.clone()))
            }
            StreamType::Error => Box::new(FinalStatus {
                masked: masked(&texts),
                withheld: withheld.clone(),
            }),
            _ => Box::new(masked(&texts)),
        }
    })
}

/// What filters the input of a session on its way onto the recording; the command gets it as it is.
pub(super) fn input(texts: &TextMasks) -> Box<dyn Filter> {
    Box::new(Masked {
        masker: TextMasker::new(texts),
        report: Arc::default(),
    })
}

struct Masked {
    masker: TextMasker,
    report: Arc<MaskReport>,
}

impl Filter for Masked {
    fn push(&mut self, bytes: &[u8], now: Duration, output: &mut Vec<u8>) {
        self.masker.push_to(bytes, now, output);
        self.masker.report_to(&self.report);
    }

    fn due(&self) -> Option<Duration> {
        self.masker.due()
    }

    fn release(&mut self, now: Duration, output: &mut Vec<u8>) {
        self.masker.release_to(now, output);
        self.masker.report_to(&self.report);
    }

    fn finish(&mut self, output: &mut Vec<u8>) {
        self.masker.finish_to(output);
        self.masker.report_to(&self.report);
    }
}
