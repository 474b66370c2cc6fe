//! Changes of hops and of intent as lines of JSON. Times are RFC 3339.

use serde::Serialize;

use crate::time;
use hopsight_posture::hops::{
    change::{HopChange, IntentChange, Renewal, Side},
    treatment::TreatmentKey,
};

/// One change.
#[derive(Serialize)]
pub(crate) struct ChangeLine<'a, C> {
    time: String,
    event: &'static str,
    /// For people.
    detail: String,
    #[serde(flatten)]
    change: &'a C,
}

impl<'a> ChangeLine<'a, HopChange> {
    /// A hop's change as told at `now` (seconds since the Unix epoch).
    pub(crate) fn of_hop(change: &'a HopChange, now: f64) -> Self {
        let words = |key: TreatmentKey| {
            format!("{}, {}, verified {}", key.security, key.client_auth, key.server_verified)
        };
        let detail = format!("{} → {}", words(change.from), words(change.to));
        Self { time: time::rfc3339(now), event: "hop_changed", detail, change }
    }
}

impl<'a> ChangeLine<'a, IntentChange> {
    /// A change of intent as told at `now` (seconds since the Unix epoch).
    pub(crate) fn of_intent(change: &'a IntentChange, now: f64) -> Self {
        let IntentChange { from, to, .. } = change;
        let all = [
            ("scheme", from.scheme.as_str(), to.scheme.as_str()),
            (
                "client certificate",
                from.client_certificate.as_str(),
                to.client_certificate.as_str(),
            ),
            ("verification", from.verify.as_str(), to.verify.as_str()),
        ];
        let different = all.into_iter().filter(|(_, before, after)| before != after);
        let words: Vec<_> =
            different.map(|(what, before, after)| format!("{what} {before} → {after}")).collect();
        let detail = words.join(", ");
        Self { time: time::rfc3339(now), event: "intent_changed", detail, change }
    }
}

impl<'a> ChangeLine<'a, Renewal> {
    /// A new certificate as told at `now` (seconds since the Unix epoch).
    pub(crate) fn of_renewal(change: &'a Renewal, now: f64) -> Self {
        const DAY: f64 = 86_400.0;
        let Renewal { side, certificate, renews, .. } = change;
        let whose = match side {
            Side::Server => "upstream",
            Side::Client => "proxy",
        };
        let left = match renews.seconds_left {
            left if left < 0.0 => format!("{:.1} days after its end", -left / DAY),
            left => {
                format!("with {:.1} of {:.1} days left", left / DAY, renews.lifetime_seconds / DAY)
            }
        };
        let detail = format!("the {whose} renewed \"{}\" {left}", certificate.identity());
        Self { time: time::rfc3339(now), event: "certificate_renewed", detail, change }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_core::model::{ClientAuth, Security, ServerVerified};
    use hopsight_posture::{
        hops::context::IntentSummary,
        policy::intent::{Place, Scheme, Stated},
    };

    #[test]
    fn events_say_what_changed_and_into_what() {
        let key = |security, client_auth| TreatmentKey {
            security,
            client_auth,
            server_verified: ServerVerified::Yes,
        };
        let change = HopChange {
            proxy: "nginx".into(),
            upstream: "payments".into(),
            name: Some("payments".into()),
            from: key(Security::Mtls, ClientAuth::Presented),
            to: key(Security::Tls, ClientAuth::RequestedNotPresented),
            server: Some("10.0.0.1:443".parse().expect("literal")),
        };
        let line = serde_json::to_value(ChangeLine::of_hop(&change, 100.0)).expect("JSON");
        assert_eq!(line["event"], "hop_changed");
        assert_eq!(line["time"], "1970-01-01T00:01:40.000Z");
        assert_eq!(
            (&line["from"]["security"], &line["to"]["security"]),
            (&"mtls".into(), &"tls".into())
        );
        assert_eq!(line["server"], "10.0.0.1:443");
        assert_eq!(
            line["detail"],
            "mtls, presented, verified yes → tls, requested_not_presented, verified yes"
        );

        let says = |client_certificate| IntentSummary {
            scheme: Scheme::Tls,
            client_certificate,
            verify: Stated::Yes,
            place: Some(Place { file: "/etc/nginx/nginx.conf".into(), line: 7 }),
        };
        let change = IntentChange {
            proxy: "nginx".into(),
            upstream: "payments".into(),
            name: None,
            from: says(Stated::Yes),
            to: says(Stated::No),
            loaded_at: Some(98.0),
        };
        let line = serde_json::to_value(ChangeLine::of_intent(&change, 100.0)).expect("JSON");
        assert_eq!(line["event"], "intent_changed");
        assert_eq!(line["detail"], "client certificate yes → no");
        assert_eq!(line["to"]["client_certificate"], "no");
        assert_eq!(line["loaded_at"], 98.0);
    }
}
