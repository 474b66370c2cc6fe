//! The inventory as a CycloneDX 1.7 cryptography bill of materials (ECMA-424; the CBOM parts are
//! described in the "Authoritative Guide to CBOM" of OWASP).
//!
//! Each certificate, each kind of protocol and each algorithm is one component, with every hop that
//! uses it as an occurrence. Hops are services that depend on them, and a certificate depends on the
//! one that was sent behind it.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use hopsight_core::{
    model::{Security, hex},
    tls::{
        certificate_facts::CertificateAbsence,
        cryptography::{GroupAbsence, PostQuantum, SignatureAbsence},
        group::is_post_quantum,
        hello::cipher_number,
    },
};

use super::{CertificateLine, CryptographyLine, HopName, Inventory, Role, Use, why};
use crate::time;

/// The inventory as a document.
pub(super) fn document(inventory: &Inventory, now: f64) -> Value {
    let mut bill = Bill { now, ..Bill::default() };
    for line in &inventory.certificates {
        bill.certificate(line);
    }
    for line in &inventory.cryptography {
        bill.protocol(line);
    }
    bill.document()
}

/// What was put together so far.
#[derive(Default)]
struct Bill {
    now: f64,
    /// By their `bom-ref`.
    components: BTreeMap<String, Component>,
    /// By their `bom-ref`.
    hops: BTreeMap<String, Service>,
    /// The certificate that was sent before, in the chain of the line before.
    below: Option<String>,
}

struct Component {
    name: String,
    properties: Value,
    occurrences: Vec<Value>,
    /// What was sent behind it: the references of those that are to have issued it.
    behind: BTreeSet<String>,
}

struct Service {
    hop: HopName,
    facts: Vec<(&'static str, String)>,
    uses: BTreeSet<String>,
}

impl Bill {
    /// The component with this reference.
    fn component(
        &mut self,
        reference: &str,
        make: impl FnOnce(&mut Self) -> (String, Value),
    ) -> &mut Component {
        // What it is made of may be components of their own.
        let known = self.components.remove(reference);
        let component = known.unwrap_or_else(|| {
            let (name, properties) = make(self);
            Component { name, properties, occurrences: Vec::new(), behind: BTreeSet::new() }
        });
        self.components.entry(reference.to_owned()).or_insert(component)
    }

    /// The service that stands for this hop.
    fn hop(&mut self, hop: &HopName) -> &mut Service {
        let reference = format!("hop:{}:{}:{}", hop.source, hop.proxy, hop.upstream);
        let made = || Service { hop: hop.clone(), facts: Vec::new(), uses: BTreeSet::new() };
        self.hops.entry(reference).or_insert_with(made)
    }

    fn certificate(&mut self, line: &CertificateLine) {
        let service = self.hop(&line.hop);
        let Some(subject) = &line.subject else {
            let why = line.absent.map_or("not_seen", CertificateAbsence::as_str);
            service.facts.push((
                match line.role {
                    Role::Upstream | Role::UpstreamIssuer => "upstream_certificate_absent",
                    Role::Proxy | Role::ProxyIssuer => "proxy_certificate_absent",
                },
                why.to_owned(),
            ));
            return;
        };
        let told_by = match (line.sha256, &line.issuer, &line.serial) {
            (Some(sha256), ..) => sha256.to_string(),
            (None, issuer, serial) => {
                [issuer, serial].map(|text| text.clone().unwrap_or_default()).join(":")
            }
        };
        let reference = format!("certificate:{told_by}");
        service.uses.insert(reference.clone());
        self.chain(line.role, &reference);
        let occurrence = occurrence(&line.hop, &known_as(line), &line.used);
        let component = self.component(&reference, |bill| {
            let name = if subject.is_empty() { told_by } else { subject.clone() };
            (name, bill.certificate_properties(line))
        });
        component.occurrences.push(occurrence);
    }

    /// Notes that it was sent behind the one of the line before, if it was.
    fn chain(&mut self, role: Role, reference: &str) {
        let is_issuer = matches!(role, Role::UpstreamIssuer | Role::ProxyIssuer);
        let below = self.below.replace(reference.to_owned()).filter(|_| is_issuer);
        let below = below.filter(|below| below != reference);
        if let Some(component) = below.and_then(|below| self.components.get_mut(&below)) {
            component.behind.insert(reference.to_owned());
        }
    }

    fn certificate_properties(&mut self, line: &CertificateLine) -> Value {
        let key = line.public_key.as_deref().map(|name| self.algorithm("key", name));
        let signature = line.signature.as_deref().map(|name| self.algorithm("signature", name));
        let related = [("publicKey", key), ("algorithm", signature)];
        let related = related
            .into_iter()
            .filter_map(|(kind, reference)| Some(json!({"type": kind, "ref": reference?})));
        let words = |all: Option<Vec<&'static str>>| all.map(|all| all.join(", "));
        let extension = |name: &str, value: Option<String>| {
            Some(json!({"commonExtensionName": name, "commonExtensionValue": value?}))
        };
        let usage = line.key_usage.as_ref();
        let purposes = line.extended_key_usage.as_ref();
        let extensions = [
            extension("subjectAlternativeName", (!line.sans.is_empty()).then(|| line.names(", "))),
            extension(
                "keyUsage",
                words(usage.map(|all| all.iter().map(|one| one.as_str()).collect())),
            ),
            extension(
                "extendedKeyUsage",
                words(purposes.map(|all| all.iter().map(|one| one.as_str()).collect())),
            ),
        ];
        let state = line.validity.map(|validity| json!([{"state": self.state(validity)}]));
        json!({
            "assetType": "certificate",
            "certificateProperties": without_nulls(json!({
                "serialNumber": line.serial,
                "subjectName": line.subject,
                "issuerName": line.issuer,
                "notValidBefore": line.not_before,
                "notValidAfter": line.not_after,
                "certificateFormat": "X.509",
                "fingerprint": line.sha256.map(|sha256| json!({"alg": "SHA-256", "content": sha256})),
                "certificateState": state,
                "certificateExtensions": extensions.into_iter().flatten().collect::<Vec<_>>(),
                "relatedCryptographicAssets": related.collect::<Vec<_>>(),
            })),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds of a date")]
    fn state(&self, (not_before, not_after): (i64, i64)) -> &'static str {
        if self.now < not_before as f64 {
            "pre-activation"
        } else if self.now > not_after as f64 {
            "deactivated"
        } else {
            "active"
        }
    }

    fn protocol(&mut self, line: &CryptographyLine) {
        let service = self.hop(&line.hop);
        let word = line.post_quantum.map_or("plaintext", PostQuantum::as_str);
        service.facts.push(("post_quantum", word.to_owned()));
        let Some(version) = line.version.as_deref() else { return };
        let parts = [
            Some(version),
            line.cipher.as_deref(),
            line.group.as_deref().or(line.group_absent.map(GroupAbsence::as_str)),
            line.server_signature
                .as_deref()
                .or(line.server_signature_absent.map(SignatureAbsence::as_str)),
            line.client_signature
                .as_deref()
                .or(line.client_signature_absent.map(SignatureAbsence::as_str)),
        ];
        let reference =
            format!("protocol:tls:{}", parts.map(|part| part.unwrap_or("unknown")).join(":"));
        service.uses.insert(reference.clone());
        let because = line.post_quantum.map(why).unwrap_or_default();
        let occurrence = occurrence(&line.hop, because, &line.used);
        let component = self.component(&reference, |bill| {
            (format!("TLS {version}"), bill.protocol_properties(version, line))
        });
        component.occurrences.push(occurrence);
    }

    fn protocol_properties(&mut self, version: &str, line: &CryptographyLine) -> Value {
        let signed: BTreeSet<&str> = [&line.server_signature, &line.client_signature]
            .into_iter()
            .flatten()
            .map(|word| &**word)
            .collect();
        let mut algorithms = BTreeSet::new();
        algorithms.extend(line.group.as_deref().map(|name| self.algorithm("group", name)));
        algorithms.extend(signed.iter().map(|name| self.algorithm("signature", name)));
        let identifiers = line
            .cipher
            .as_deref()
            .and_then(cipher_number)
            .map(|number| number.to_be_bytes().map(|byte| format!("0x{byte:02X}")));
        json!({
            "assetType": "protocol",
            "protocolProperties": {
                "type": "tls",
                "version": version,
                "cipherSuites": [without_nulls(json!({
                    "name": line.cipher,
                    "identifiers": identifiers,
                    "algorithms": algorithms,
                    "tlsGroups": line.group.iter().collect::<Vec<_>>(),
                    "tlsSignatureSchemes": signed,
                }))],
            },
        })
    }

    /// The reference of an algorithm, which is a component from now on.
    fn algorithm(&mut self, kind: &str, name: &str) -> String {
        let reference = format!("algorithm:{kind}:{name}");
        let primitive = match kind {
            "group" if name.starts_with("MLKEM") => "kem",
            "group" if is_post_quantum(name) => "combiner",
            "group" => "key-agree",
            "key" if name.starts_with("rsa") && !name.starts_with("rsa-pss") => "pke",
            _ => "signature",
        };
        self.component(&reference, |_| {
            let properties = json!({
                "assetType": "algorithm",
                "algorithmProperties": {
                    "primitive": primitive,
                    "nistQuantumSecurityLevel": quantum_security_level(name),
                },
            });
            (name.to_owned(), properties)
        });
        reference
    }

    fn document(self) -> Value {
        let chains = self.components.iter().filter(|(_, component)| !component.behind.is_empty());
        let chains = chains.map(|(reference, component)| (reference, &component.behind));
        let hops = self.hops.iter().map(|(reference, service)| (reference, &service.uses));
        let dependencies: Vec<Value> = chains
            .chain(hops)
            .map(|(reference, on)| json!({"ref": reference, "dependsOn": on}))
            .collect();
        let components: Vec<Value> = self
            .components
            .into_iter()
            .map(|(reference, component)| {
                let occurrences = component.occurrences;
                let evidence =
                    (!occurrences.is_empty()).then(|| json!({"occurrences": occurrences}));
                without_nulls(json!({
                    "type": "cryptographic-asset",
                    "bom-ref": reference,
                    "name": component.name,
                    "cryptoProperties": component.properties,
                    "evidence": evidence,
                }))
            })
            .collect();
        let services: Vec<Value> =
            self.hops.iter().map(|(reference, service)| service.document(reference)).collect();
        let serial_number = serial_number(&components, &services, self.now);
        json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.7",
            "serialNumber": serial_number,
            "version": 1,
            "metadata": {
                "timestamp": time::rfc3339(self.now),
                "tools": {"components": [{
                    "type": "application",
                    "name": "hopsight",
                    "version": env!("CARGO_PKG_VERSION"),
                }]},
                "component": {"type": "platform", "bom-ref": "hops", "name": "upstream hops"},
            },
            "components": components,
            "services": services,
            "dependencies": dependencies,
        })
    }
}

impl Service {
    fn document(&self, reference: &str) -> Value {
        let HopName { source, proxy, upstream, security } = &self.hop;
        let words = [
            ("source", source.to_string()),
            ("proxy", proxy.to_string()),
            ("security", security.to_string()),
        ];
        let facts = words
            .iter()
            .chain(&self.facts)
            .map(|(name, value)| json!({"name": format!("hopsight:{name}"), "value": value}));
        without_nulls(json!({
            "bom-ref": reference,
            "group": proxy,
            "name": upstream,
            // Elsewhere it may ask for something that is not TLS.
            "authenticated": (*security == Security::Mtls).then_some(true),
            "properties": facts.collect::<Vec<_>>(),
        }))
    }
}

/// Whose a certificate is, where its chain leads and whether it is revoked, where that is known.
fn known_as(line: &CertificateLine) -> String {
    let chain = line.chain.map(|chain| format!("chain {chain}"));
    let revocation = line.revocation.map(|revocation| format!("revocation {revocation}"));
    let words = [Some(line.role.to_string()), chain, revocation];
    words.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// A hop that uses something, and what that is known by.
fn occurrence(hop: &HopName, what: &str, used: &Use) -> Value {
    let since = used.first_seen.as_ref().zip(used.last_seen.as_ref());
    let since = since.map(|(first, last)| format!(", {first} to {last}")).unwrap_or_default();
    let Use { evidence, connections, of_connections, .. } = used;
    json!({
        "location": format!("{} -> {}", hop.proxy, hop.upstream),
        "additionalContext": format!(
            "{what}; evidence {evidence}; {connections} of {of_connections} connections{since}; from {}",
            hop.source
        ),
    })
}

/// Security categories of NIST: of ML-KEM (FIPS 203 section 8), ML-DSA (FIPS 204 section 4) and
/// SLH-DSA (FIPS 205 section 11); 0 for what a quantum computer breaks.
fn quantum_security_level(name: &str) -> u8 {
    let has = |part: &str| name.contains(part);
    match name {
        _ if is_post_quantum(name) && has("1024") => 5,
        _ if is_post_quantum(name) && has("768") => 3,
        _ if is_post_quantum(name) => 1,
        "mldsa44" => 2,
        "mldsa65" => 3,
        "mldsa87" => 5,
        _ if has("slhdsa") && has("256") => 5,
        _ if has("slhdsa") && has("192") => 3,
        _ if has("slhdsa") => 1,
        _ => 0,
    }
}

/// An object without the fields that are null, or lists of nothing.
fn without_nulls(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    let kept = fields.into_iter().filter(|(_, value)| !value.is_null() && !is_empty(value));
    Value::Object(kept.collect::<Map<_, _>>())
}

/// A name of its own for each content: a UUID of version 8 (RFC 9562 section 5.8).
fn serial_number(components: &[Value], services: &[Value], now: f64) -> String {
    let content = json!([components, services, now]).to_string();
    let hash = digest(&SHA256, content.as_bytes());
    let mut bytes = [0; 16];
    for (byte, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *byte = *from;
    }
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let parts = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
    format!("urn:uuid:{}", parts.join("-"))
}
