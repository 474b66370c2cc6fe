//! What connections are evaluated against, and where names come from.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Requirement, State};
use crate::compliance::{ComplianceOptions, read_policy};
use hopsight_identity::{cri::CriClient, kubernetes::Watch, source_state::NameSourceState};

/// How long the Kubernetes API may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Set by the kubelet in every pod.
const IN_A_POD: &str = "KUBERNETES_SERVICE_HOST";

/// Checks the policy file and the sources of names. None of them is needed, so nothing here is ever
/// missing.
#[must_use]
pub fn check_names(options: &ComplianceOptions) -> Vec<Requirement> {
    [policy(options), kubernetes(options), runtime(options)].into_iter().flatten().collect()
}

fn policy(options: &ComplianceOptions) -> Option<Requirement> {
    let path = options.policy.as_ref()?;
    Some(match read_policy(path) {
        Ok(_) => Requirement::ok("policy file", path.display().to_string()),
        Err(error) => {
            let advice = "only the built-in policies apply; with policy.required the agent is not \
                          ready";
            degraded("policy file", format!("{error:#}"), advice)
        }
    })
}

fn kubernetes(options: &ComplianceOptions) -> Option<Requirement> {
    const NAME: &str = "Kubernetes API";
    let wanted = &options.sources.kubernetes;
    let has_address = wanted.kubeconfig.is_some() || std::env::var_os(IN_A_POD).is_some();
    if !wanted.enabled || !has_address {
        return None;
    }
    let advice = "proxies in pods go by their process names: let the service account list and \
                  watch pods, or name a kubeconfig (kubernetes.kubeconfig)";
    let watch = match Watch::start(wanted) {
        Ok(watch) => watch,
        Err(error) => return Some(degraded(NAME, format!("{error:#}"), advice)),
    };
    let begin = Instant::now();
    loop {
        match watch.state() {
            NameSourceState::Ready(what) => return Some(Requirement::ok(NAME, what)),
            NameSourceState::Degraded(why) => return Some(degraded(NAME, why, advice)),
            _ if begin.elapsed() > PATIENCE => {
                return Some(degraded(NAME, "no answer".to_owned(), advice));
            }
            NameSourceState::Idle(_) | NameSourceState::Starting => {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn runtime(options: &ComplianceOptions) -> Option<Requirement> {
    const NAME: &str = "container runtime";
    let socket = options.sources.cri_socket.as_ref()?;
    let asked = CriClient::new(socket, &[]).and_then(|mut client| {
        client.refresh()?;
        Ok(format!("{} pods at {}", client.known().len(), socket.display()))
    });
    Some(match asked {
        Ok(detail) => Requirement::ok(NAME, detail),
        Err(error) => {
            let advice = "name the CRI socket of a running container runtime (cri.socket), or none";
            degraded(NAME, format!("{error:#}"), advice)
        }
    })
}

fn degraded(name: &'static str, detail: String, advice: &str) -> Requirement {
    Requirement { name, state: State::Degraded, detail, advice: advice.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use hopsight_identity::{kubernetes::KubernetesOptions, sources::SourceOptions};

    #[test]
    fn what_is_broken_is_told_and_nothing_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("policy.toml");
        fs::write(&policy, "[[policies]]\nrequire = \"tls\"\ncolour = \"red\"\n").unwrap();
        let options = ComplianceOptions {
            policy: Some(policy),
            sources: SourceOptions {
                kubernetes: KubernetesOptions {
                    kubeconfig: Some(directory.path().join("kubeconfig")),
                    ..KubernetesOptions::default()
                },
                cri_socket: Some(directory.path().join("cri.sock")),
            },
            ..ComplianceOptions::default()
        };
        let found = check_names(&options);
        let names: Vec<_> = found.iter().map(|one| one.name).collect();
        assert_eq!(names, ["policy file", "Kubernetes API", "container runtime"]);
        for requirement in &found {
            assert_eq!(requirement.state, State::Degraded, "{requirement}");
            assert!(!requirement.advice.is_empty(), "{requirement}");
        }
        assert!(found[0].detail.contains("policy.toml:3:1"), "{}", found[0]);
        assert_eq!(check_names(&ComplianceOptions::default()), []);
    }
}
