//! Certificates that are presented though newer ones are in their places.

use std::time::Duration;

use super::{
    Answer,
    assess::{Assessor, violated},
    sessions::span,
};

/// Whoever writes a certificate tells the proxy right after, and its old workers leave then.
const RELOAD: Duration = Duration::from_secs(2);

impl Assessor<'_> {
    /// In a full handshake, by the file that every route presents. What is newer by its own beginning
    /// counts, so that a look at the file from before a renewal makes nothing of it.
    pub(super) fn stale_certificate(&self) -> Answer {
        self.stale_on_disk().or_else(|| self.older_than_elsewhere()).unwrap_or(Answer::Met)
    }

    fn stale_on_disk(&self) -> Option<Answer> {
        let on_disk = self.seen.on_disk.filter(|on_disk| on_disk.is_of_all_routes)?;
        let (newer, changed_at) = on_disk.certificate.as_ref()?;
        let presented = self.seen.client_certificate?;
        let is_older = presented.not_before < newer.not_before;
        let is_reloaded_by_now = *changed_at + RELOAD < self.seen.at;
        if !is_older || !is_reloaded_by_now || self.seen.resumed != Some(false) {
            return None;
        }
        let detail = format!(
            "the proxy presents \"{}\", though a newer one has been in its file for {}: it was not \
             reloaded",
            presented.subject,
            span(self.now.since(*changed_at).as_secs_f64()),
        );
        Some(violated(detail, self.certificate_place()))
    }

    fn older_than_elsewhere(&self) -> Option<Answer> {
        let (newer, presented) = (self.seen.newer_elsewhere?, self.seen.server_certificate?);
        let detail = format!(
            "the upstream presents \"{}\", though {} has presented a newer one for {}",
            presented.subject,
            newer.server,
            span(self.now.since(newer.since).as_secs_f64()),
        );
        Some(violated(detail, None))
    }
}
