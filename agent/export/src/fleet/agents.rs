//! The agents: who has to be there, and what they say of one hop.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    net::ToSocketAddrs as _,
    path::PathBuf,
    sync::Arc,
    thread,
};

use anyhow::Context as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use hopsight_posture::hops::{hop::Hop, table::Snapshot};

/// Agents that are asked about one hop: the worst of many say what is wrong.
const MOST_ASKED: usize = 8;
/// Asks the agent at `HOST:PORT` for a path: status and body.
pub type Ask = Box<dyn Fn(&str, &str) -> anyhow::Result<(u16, String)> + Send + Sync>;

/// Where agents are.
pub struct Agents {
    /// Names of agents that have to be there, `HOST:PORT` as Prometheus scrapes them, one a line.
    pub file: Option<PathBuf>,
    /// A name whose every address has an agent, `NAME:PORT`, such as that of a headless Service.
    pub name: Option<String>,
    /// How one is asked.
    pub ask: Ask,
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agents")
            .field("file", &self.file)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What agents say of a hop.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Detail {
    /// The hop as each of them has it, the worst first.
    pub hops: Vec<Said>,
    /// Those that do not answer, or know nothing of it, and why.
    pub silent: Vec<Silent>,
    /// Agents that see it and were not asked.
    pub not_asked: usize,
}

/// What one agent says.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// Which.
    pub instance: String,
    /// The node that it says it watches.
    pub node: Option<Arc<str>>,
    /// Its hop.
    pub hop: Arc<Hop>,
}

/// An agent that says nothing.
#[derive(Clone, Debug, Serialize)]
pub struct Silent {
    /// Which.
    pub instance: String,
    /// Why.
    pub why: String,
}

impl Agents {
    /// The agents that have to be there, as Prometheus calls them.
    ///
    /// # Errors
    /// The file cannot be read, or the name has no address.
    pub fn expected(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        if let Some(path) = &self.file {
            let text = fs::read_to_string(path)
                .with_context(|| format!("read the agents of {}", path.display()))?;
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
            all.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
        }
        if let Some(name) = &self.name {
            let found = name.to_socket_addrs();
            let found = found.with_context(|| format!("look up the agents behind {name}"))?;
            all.extend(found.map(|address| address.to_string()));
        }
        Ok(all)
    }

    /// Asks those who see a hop, the worst first, all at once. `seen`: agents and what they see.
    pub(super) fn ask(
        &self,
        seen: &BTreeMap<String, String>,
        proxy: &str,
        upstream: &str,
    ) -> Detail {
        let mut order: Vec<_> = seen.iter().collect();
        let rank = |security: &str| match security {
            "plaintext" => 0,
            "tls" => 1,
            "mtls" => 3,
            _ => 2,
        };
        order.sort_by_key(|(instance, security)| (rank(security), (*instance).clone()));
        let not_asked = order.len().saturating_sub(MOST_ASKED);
        let mut detail = Detail { not_asked, ..Detail::default() };
        let answers: Vec<_> = thread::scope(|scope| {
            let asked: Vec<_> = order
                .iter()
                .take(MOST_ASKED)
                .map(|(instance, _)| {
                    (*instance, scope.spawn(|| self.ask_one(instance, proxy, upstream)))
                })
                .collect();
            asked
                .into_iter()
                .map(|(instance, thread)| {
                    let answer = thread.join();
                    (instance, answer.unwrap_or_else(|_| Err(anyhow::anyhow!("asking panicked"))))
                })
                .collect()
        });
        for (instance, answer) in answers {
            match answer {
                Ok(said) => detail.hops.push(said),
                Err(error) => {
                    let why = format!("{error:#}");
                    detail.silent.push(Silent { instance: instance.clone(), why });
                }
            }
        }
        detail
    }

    fn ask_one(&self, instance: &str, proxy: &str, upstream: &str) -> anyhow::Result<Said> {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let path = format!("/hops?proxy={}&upstream={}", encode(proxy), encode(upstream));
        let (status, body) = (self.ask)(instance, &path)?;
        anyhow::ensure!(status == 200, "it answered {status}");
        let answer: Snapshot = serde_json::from_str(&body).context("it is of another version")?;
        let is_it = |hop: &&Arc<Hop>| &*hop.proxy == proxy && &*hop.upstream == upstream;
        let hop = answer.hops.iter().find(is_it).context("it knows no such hop (any more)")?;
        let node = answer.witness.and_then(|witness| witness.node);
        Ok(Said { instance: instance.to_owned(), node, hop: Arc::clone(hop) })
    }
}
