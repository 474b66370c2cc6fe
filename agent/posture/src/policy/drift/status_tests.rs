use super::assess_tests::{MUTUAL, ONE_WAY, PLAINTEXT, observation, policy, words};
use crate::policy::{
    intent::Place,
    observation::Observation,
    status::{Promise, StatusClaim},
};
use hopsight_core::{
    model::{ClientAuth, Outcome, Security, ServerVerified},
    report::Verdict,
};

fn claim(promise: Promise) -> StatusClaim {
    StatusClaim {
        object: Place { file: "BackendTLSPolicy shop/p".into(), line: 0 },
        condition: "Accepted is True for Gateway shop/edge".to_owned(),
        promise,
    }
}

#[test]
fn a_status_is_held_against_the_wire() {
    use Promise::{ClientCertificate, Tls, Verification};
    const OTHERWISE: &str = "violation status_says_otherwise";
    let asked = Verdict { client_auth: ClientAuth::RequestedNotPresented, ..ONE_WAY };
    let refused = Verdict { outcome: Outcome::Rejected, ..asked };
    let unchecked = Verdict { server_verified: ServerVerified::No, ..ONE_WAY };
    let unknown = Verdict { security: Security::Unknown, ..PLAINTEXT };
    for (name, verdict, promises, expected) in [
        ("nothing is promised", PLAINTEXT, &[][..], "compliant"),
        ("TLS, and it is", ONE_WAY, &[Tls, Verification], "compliant"),
        ("TLS, and it is not", PLAINTEXT, &[Tls, Verification], OTHERWISE),
        ("TLS, and nobody knows", unknown, &[Tls], "unknown"),
        ("a certificate, and it is presented", MUTUAL, &[Tls, ClientCertificate], "compliant"),
        ("a certificate, and none is presented", asked, &[Tls, ClientCertificate], OTHERWISE),
        ("the same, and it is refused", refused, &[ClientCertificate], OTHERWISE),
        ("a certificate, and nobody asks", ONE_WAY, &[Tls, ClientCertificate], "unknown"),
        ("a check, and there is none", unchecked, &[Tls, Verification], OTHERWISE),
    ] {
        let claims: Vec<_> = promises.iter().copied().map(claim).collect();
        let is_tls = matches!(verdict.security, Security::Tls | Security::Mtls);
        let tls_version = observation(ONE_WAY).tls_version.filter(|_| is_tls);
        let seen = Observation { tls_version, claims: &claims, ..observation(verdict) };
        let any = policy("require = \"plaintext-allowed\"");
        assert_eq!(words(&any, None, &seen), expected, "{name}");
    }
}
