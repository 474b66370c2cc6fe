//! What objects of the Kubernetes API say of themselves in their status, as far as the wire may
//! contradict it.

use super::intent::Place;
use hopsight_core::vocabulary;

vocabulary! {
    /// What an object promises of a hop once it is in force.
    Promise {
        /// TLS to the upstream.
        Tls => "tls",
        /// A client certificate, for an upstream that asks for one.
        ClientCertificate => "client_certificate",
        /// That the upstream's certificate is checked.
        Verification => "verification",
    }
}

/// An object whose status says that it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusClaim {
    /// The object, such as `BackendTLSPolicy shop/payments`.
    pub object: Place,
    /// What its status says, such as `Accepted is True for Gateway shop/edge`.
    pub condition: String,
    /// What that promises.
    pub promise: Promise,
}
