//! What policy asks of the certificates of both sides.

use hopsight_core::{
    model::{ClientAuth, Security},
    tls::certificate_facts::CertificateFacts,
};

use super::{
    Answer,
    assess::{Assessor, violated_by},
};
use crate::policy::glob;

impl Assessor<'_> {
    pub(super) fn certificate_expiring(&self) -> Answer {
        let Some(margin) = self.policy.expiry_margin else { return Answer::Met };
        let limit = i64::try_from((self.now + margin).as_secs()).unwrap_or(i64::MAX);
        let ends_soon = |certificate: &&CertificateFacts| certificate.not_after <= limit;
        let client = self.seen.client_certificate.filter(ends_soon).map(|facts| ("client", facts));
        let server =
            self.seen.server_certificate.filter(ends_soon).map(|facts| ("upstream", facts));
        if let Some((whose, facts)) = client.or(server) {
            let seconds = facts.not_after - i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX);
            let detail = format!(
                "the {whose} certificate \"{}\" {} {} days {}",
                facts.identity(),
                if seconds < 0 { "ended" } else { "ends in" },
                seconds.abs() / 86_400,
                if seconds < 0 { "ago" } else { "" },
            );
            let place = client.and_then(|_| self.certificate_place());
            return violated_by(Some(facts), detail.trim_end().to_owned(), place);
        }
        self.all_certificates_seen()
    }

    pub(super) fn client_issuer_not_allowed(&self) -> Answer {
        let allowed = &self.policy.allowed_client_issuers;
        self.client_certificate_has(allowed, |certificate| {
            if allowed.iter().any(|pattern| glob::matches(pattern, &certificate.issuer)) {
                return Ok(());
            }
            Err(format!("the client certificate was issued by \"{}\"", certificate.issuer))
        })
    }

    pub(super) fn client_san_not_allowed(&self) -> Answer {
        let allowed = &self.policy.allowed_client_sans;
        self.client_certificate_has(allowed, |certificate| {
            let fits = |san: &String| {
                let name = san.split_once(':').map_or(san.as_str(), |(_kind, name)| name);
                allowed
                    .iter()
                    .any(|pattern| glob::matches(pattern, san) || glob::matches(pattern, name))
            };
            if certificate.sans.iter().any(fits) {
                return Ok(());
            }
            Err(format!("the client certificate is for [{}]", certificate.sans.join(", ")))
        })
    }

    fn client_certificate_has(
        &self,
        allowed: &[String],
        check: impl Fn(&CertificateFacts) -> Result<(), String>,
    ) -> Answer {
        if allowed.is_empty() {
            return Answer::Met;
        }
        match (self.seen.verdict.client_auth, self.seen.client_certificate) {
            (ClientAuth::NotRequested | ClientAuth::RequestedNotPresented, _) => Answer::Met,
            (ClientAuth::Presented | ClientAuth::Unknown, None) => Answer::Unknown,
            (_, Some(certificate)) => match check(certificate) {
                Ok(()) => Answer::Met,
                Err(detail) => violated_by(Some(certificate), detail, self.certificate_place()),
            },
        }
    }

    pub(super) fn spiffe_id_not_allowed(&self) -> Answer {
        let allowed = &self.policy.allowed_spiffe_ids;
        if allowed.is_empty() {
            return Answer::Met;
        }
        let Some(certificate) = self.seen.server_certificate else { return Answer::Unknown };
        let detail = match certificate.spiffe_id() {
            Some(id) if allowed.iter().any(|pattern| glob::matches(pattern, id)) => {
                return Answer::Met;
            }
            Some(id) => format!("the upstream's certificate is for \"{id}\""),
            None => "the upstream's certificate has no SPIFFE ID, or several".to_owned(),
        };
        violated_by(Some(certificate), detail, None)
    }

    pub(super) fn certificate_lifetime_too_long(&self) -> Answer {
        const DAY: i64 = 86_400;
        let Some(most) = self.policy.max_certificate_lifetime else { return Answer::Met };
        let most = i64::try_from(most.as_secs()).unwrap_or(i64::MAX);
        // The last second counts (RFC 5280 section 4.1.2.5).
        let lifetime = |facts: &CertificateFacts| {
            facts.not_after.saturating_sub(facts.not_before).saturating_add(1)
        };
        let is_longer = |facts: &&CertificateFacts| lifetime(facts) > most.saturating_add(1);
        let client = self.seen.client_certificate.filter(is_longer);
        let server = self.seen.server_certificate.filter(is_longer);
        let longest =
            client.map(|facts| ("client", facts)).or(server.map(|facts| ("upstream", facts)));
        if let Some((whose, facts)) = longest {
            let detail = format!(
                "the {whose} certificate \"{}\" is valid for {} days, {} are allowed",
                facts.identity(),
                lifetime(facts) / DAY,
                most / DAY
            );
            let place = client.and_then(|_| self.certificate_place());
            return violated_by(Some(facts), detail, place);
        }
        self.all_certificates_seen()
    }

    /// Met where every certificate that was shown is known.
    pub(super) fn all_certificates_seen(&self) -> Answer {
        let client_seen = self.seen.client_certificate.is_some()
            || self.seen.verdict.client_auth != ClientAuth::Presented;
        match self.seen.verdict.security {
            Security::Mtls | Security::Tls
                if client_seen && self.seen.server_certificate.is_some() =>
            {
                Answer::Met
            }
            _ => Answer::Unknown,
        }
    }
}
