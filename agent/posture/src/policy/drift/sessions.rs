//! What a session goes on after: the handshake it rests on, and the certificate that was presented in
//! it. A resumption looks at neither again.

use std::time::Duration;

use hopsight_core::{
    model::{ClientAuth, Reason},
    tls::certificate_facts::CertificateFacts,
};

use super::{Answer, assess::Assessor, assess::violated};
use crate::policy::rules::Require;

impl Assessor<'_> {
    /// Whether the connection resumed a session of which nobody saw the handshake.
    fn rests_on_the_unseen(&self) -> bool {
        matches!(
            self.seen.verdict.reason,
            Some(Reason::ResumedUnseen | Reason::Ambiguous | Reason::MidStream)
        )
    }

    pub(super) fn authentication_too_old(&self) -> Answer {
        let Some(most) = self.policy.max_authentication_age else { return Answer::Met };
        match self.seen.carried_from {
            Some(from) if from.age_seconds > most.as_secs_f64() => violated(
                format!(
                    "the session rests on a handshake {} old, {} are allowed",
                    span(from.age_seconds),
                    span(most.as_secs_f64()),
                ),
                None,
            ),
            None if self.rests_on_the_unseen() => Answer::Unknown,
            _ => Answer::Met,
        }
    }

    pub(super) fn session_outlives_certificate(&self) -> Answer {
        let Some(from) = self.seen.carried_from else {
            let asks = self.policy.require != Require::PlaintextAllowed;
            let is_open = asks && self.rests_on_the_unseen();
            return if is_open { Answer::Unknown } else { Answer::Met };
        };
        let age = span(from.age_seconds);
        let outlived = |whose: &str, facts: &CertificateFacts, end: &str| {
            let subject = &facts.subject;
            format!(
                "the session goes on, {age} after its handshake, with the {whose} certificate \
                 \"{subject}\" that {end}"
            )
        };
        let client = from.client_certificate.as_deref();
        let has_client = self.seen.verdict.client_auth == ClientAuth::Presented;
        if let Some(client) = client.filter(|_| has_client)
            && let Some(end) = self
                .ended(client)
                .or_else(|| self.replaced(client, from.age_seconds))
                .or_else(|| self.replaced_on_disk(client, from.age_seconds))
        {
            return violated(outlived("client", client, &end), self.certificate_place());
        }
        let server = from.server_certificate.as_deref();
        if let Some(server) = server
            && let Some(end) = self.ended(server)
        {
            return violated(outlived("upstream", server, &end), None);
        }
        if server.is_some() && (client.is_some() || !has_client) {
            Answer::Met
        } else {
            Answer::Unknown
        }
    }

    /// Whether it is valid no more.
    fn ended(&self, certificate: &CertificateFacts) -> Option<String> {
        let now = i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX);
        #[expect(clippy::cast_precision_loss, reason = "seconds of a date")]
        let ago = || (now - certificate.not_after) as f64;
        let ended = (certificate.not_after < now).then(|| format!("ended {} ago", span(ago())));
        ended.or_else(|| self.revoked(certificate))
    }

    /// Whether a list that the configuration names revokes it.
    fn revoked(&self, certificate: &CertificateFacts) -> Option<String> {
        self.seen.on_disk?.revoked.as_ref()?.revoked_at(certificate)?;
        Some("is revoked".to_owned())
    }

    /// Whether another client certificate was put into its file after the handshake of that age.
    fn replaced_on_disk(&self, presented: &CertificateFacts, age_seconds: f64) -> Option<String> {
        let (now, changed_at) = self.seen.on_disk?.certificate.as_ref()?;
        let handshake = self.seen.at - Duration::try_from_secs_f64(age_seconds).ok()?;
        let is_another = (&now.issuer, &now.serial) != (&presented.issuer, &presented.serial);
        (is_another && *changed_at > handshake)
            .then(|| "was replaced on disk by another".to_owned())
    }

    /// Whether the proxy has loaded another client certificate since the handshake of that age. What
    /// was loaded before it says nothing: the file may have been another one by then.
    fn replaced(&self, presented: &CertificateFacts, age_seconds: f64) -> Option<String> {
        let configured = self.seen.configured_certificate?;
        let handshake = self.seen.at - Duration::try_from_secs_f64(age_seconds).ok()?;
        let is_loaded_since = self.seen.loaded_at? > handshake;
        let is_another =
            (&configured.issuer, &configured.serial) != (&presented.issuer, &presented.serial);
        (is_loaded_since && is_another).then(|| "was replaced by another".to_owned())
    }
}

/// `3 days`, `5 hours`, `70 seconds`: a span for people.
pub(super) fn span(seconds: f64) -> String {
    let (count, unit) = match seconds {
        172_800.0.. => (seconds / 86_400.0, "days"),
        7_200.0.. => (seconds / 3_600.0, "hours"),
        120.0.. => (seconds / 60.0, "minutes"),
        _ => (seconds, "seconds"),
    };
    format!("{count:.0} {unit}")
}
