//! One thread's way to the collector.

use super::{
    Endpoint,
    endpoint::Protocol,
    grpc::Client,
    request::{Export, Unsent},
};

/// Sends requests to one collector.
#[derive(Debug)]
pub(super) struct Sender {
    endpoint: Endpoint,
    client: Option<Client>,
}

impl Sender {
    /// A sender that is not connected yet.
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, client: None }
    }

    /// Sends one request, which arrives or not.
    pub(super) fn send(&mut self, request: &impl Export) -> Result<(), Unsent> {
        match self.endpoint.protocol() {
            Protocol::HttpProtobuf => self.endpoint.post(request),
            Protocol::Grpc => {
                let client = match &mut self.client {
                    Some(client) => client,
                    None => self.client.insert(Client::new(self.endpoint.clone())?),
                };
                client.export(request)
            }
        }
    }
}
