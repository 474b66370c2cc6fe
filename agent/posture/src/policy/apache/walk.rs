//! From servers with their sections to upstreams: one for each balancer that requests are led to, and
//! one for each other address.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    balancers::{self, Balancers, Member},
    directive::Directive,
    error::{ConfigError, Problem},
    sections::{Fit, Sections, fit},
    settings::{Settings, is_setting},
    url::{To, Url},
    ways::{self, Inherited, Reach, Way},
};
use crate::policy::intent::{
    Place, Remark, Route, Scheme, Server, ServerAddress, Servers, Setting, Target, Text,
    UpstreamIntent, remark,
};

/// Bytes that the routes of a configuration may take in memory.
const MAX_SIZE: usize = 24 << 20;
/// Comparisons between ways, sections and members, which multiply.
const MAX_STEPS: usize = 20_000_000;
/// What it takes to follow a way, counted in comparisons.
const WAY: usize = 16;

/// All upstreams, in the order of their first use.
pub(super) fn upstreams(
    tree: &[Directive],
    root: PathBuf,
    remarks: Vec<Remark>,
) -> Result<(Vec<UpstreamIntent>, Vec<Remark>), ConfigError> {
    let main = ServerPart::new(tree, &root)?;
    let mut out = Upstreams {
        root,
        main: &main,
        found: Vec::new(),
        known: HashMap::new(),
        servers: HashSet::new(),
        standing: HashMap::new(),
        any_balancer: Vec::new(),
        remarks,
        size: 0,
        steps: 0,
    };
    let inherited = Inherited::default().after(tree, &[]);
    let main_ways = ways::all(tree, &[], Inherited::default())?;
    out.server(None, &[], main_ways.iter().filter(|way| way.is_on))?;
    for host in tree.iter().filter(|one| one.name == "<virtualhost") {
        let own = ServerPart::new(&host.inside, &out.root)?;
        let ways = ways::all(&host.inside, &host.conditions, inherited)?;
        let inherits_rules = inherited.after(&host.inside, &host.conditions).rewrites
            && ways::inherits_rules(tree, host);
        let inherits_passes = !says(&host.inside, "proxypassinherit", "off");
        let of_main = main_ways.iter().filter(|way| match way.reach {
            Reach::Passes => inherits_passes,
            Reach::Sections => true,
            Reach::Rules => inherits_rules,
            Reach::Own => false,
        });
        out.server(
            Some(&own),
            &host.conditions,
            of_main.chain(ways.iter().filter(|way| way.is_on)),
        )?;
    }
    out.end();
    Ok((out.found, out.remarks))
}

/// Whether a directive has a word that begins so.
fn says(directives: &[Directive], name: &str, value: &str) -> bool {
    let mut words = directives.iter().filter(|one| one.name == name).flat_map(|one| &one.words);
    words.any(|word| word.to_ascii_lowercase().starts_with(value))
}

/// What one server says: the main one, or a virtual host.
struct ServerPart<'a> {
    settings: Vec<&'a Directive>,
    sections: Sections<'a>,
    balancers: Balancers<'a>,
    /// Connections go to another proxy.
    is_remote: bool,
}

impl<'a> ServerPart<'a> {
    fn new(directives: &'a [Directive], root: &Path) -> Result<Self, ConfigError> {
        let is_section = |one: &&Directive| ["<proxy", "<proxymatch"].contains(&one.name.as_str());
        let is_about_tls = |one: &&Directive| is_section(one) || is_setting(one);
        for one in directives.iter().filter(is_about_tls) {
            Settings::check(one.inside.iter().chain([one]), root)?;
        }
        let is_for_others = |one: &&Directive| one.name != "<virtualhost" && !is_section(one);
        for section in directives.iter().filter(is_for_others) {
            refuse_settings(section)?;
        }
        Ok(Self {
            settings: directives.iter().filter(|one| is_setting(one)).collect(),
            sections: Sections::new(directives),
            balancers: balancers::all(directives)?,
            is_remote: directives.iter().any(|one| one.name.starts_with("proxyremote")),
        })
    }
}

impl ServerPart<'_> {
    /// The members of a balancer, if it has any.
    fn members(&self, name: &str) -> Option<&[Member<'_>]> {
        self.balancers.get(name).map(Vec::as_slice).filter(|all| !all.is_empty())
    }
}

/// Apache refuses settings in sections such as `<Location>`, and takes them in what is within `<Proxy>`.
fn refuse_settings(section: &Directive) -> Result<(), ConfigError> {
    for one in &section.inside {
        if is_setting(one) && one.holds(&[]) {
            let (directive, section) = (one.written.clone(), section.written.clone());
            return Err(one.error(Problem::NotAllowed { directive, section }));
        }
        refuse_settings(one)?;
    }
    Ok(())
}

struct Upstreams<'a> {
    root: PathBuf,
    main: &'a ServerPart<'a>,
    found: Vec<UpstreamIntent>,
    known: HashMap<Target, usize>,
    servers: HashSet<(usize, ServerAddress)>,
    /// Positions of the routes of an upstream that stand at one place.
    standing: HashMap<(usize, Place), Vec<usize>>,
    /// Routes to a balancer that the request names.
    any_balancer: Vec<Route>,
    remarks: Vec<Remark>,
    size: usize,
    steps: usize,
}

impl Upstreams<'_> {
    /// Takes in the ways of a server: of the main one, or of a virtual host that stands in `conditions`.
    fn server<'w>(
        &mut self,
        host: Option<&ServerPart<'_>>,
        conditions: &[u32],
        ways: impl Iterator<Item = &'w Way<'w>>,
    ) -> Result<(), ConfigError> {
        let mut settled: HashMap<Vec<u32>, Settings> = HashMap::new();
        for way in ways {
            self.step(WAY, &way.directive.at)?;
            let mut given = conditions.to_vec();
            given.extend(&*way.directive.conditions);
            let known = settled.get(&given).cloned();
            let mut settings = if let Some(known) = known {
                known
            } else {
                let mut settings = Settings::default();
                for part in [Some(self.main), host].into_iter().flatten() {
                    self.step(part.settings.len(), &way.directive.at)?;
                    settings.apply(part.settings.iter().copied(), &given, &self.root)?;
                }
                settled.insert(given.clone(), settings.clone());
                settings
            };
            for part in [Some(self.main), host].into_iter().flatten() {
                let sections = part.sections.about(way);
                self.step(sections.len(), &way.directive.at)?;
                for section in sections {
                    let fit = if section.holds(&given) {
                        fit(section, way)
                    } else if fit(section, way) == Fit::None {
                        Fit::None
                    } else {
                        Fit::Some
                    };
                    match fit {
                        Fit::All => settings.apply(&section.inside, &given, &self.root)?,
                        Fit::Some => settings.perhaps(&section.inside),
                        Fit::None => {}
                    }
                }
            }
            self.way(host, way, &settings)?;
        }
        Ok(())
    }

    fn step(&mut self, count: usize, at: &Place) -> Result<(), ConfigError> {
        self.steps += count + 1;
        if self.steps <= MAX_STEPS {
            return Ok(());
        }
        let what = "comparisons of what leads somewhere with sections about it";
        let problem = Problem::TooMuch { what, limit: MAX_STEPS };
        Err(ConfigError { place: at.clone(), problem })
    }

    fn way(
        &mut self,
        host: Option<&ServerPart<'_>>,
        way: &Way<'_>,
        settings: &Settings,
    ) -> Result<(), ConfigError> {
        let is_remote = self.main.is_remote || host.is_some_and(|host| host.is_remote);
        let listing = if is_remote { Servers::Dynamic } else { Servers::Listed };
        let route = |url: &Url, directive: &Directive, only: Option<ServerAddress>| {
            route(way, url, directive, only, settings)
        };
        match &way.url.to {
            To::Address(address) => {
                let server = Server::new(address.clone(), way.directive.at.clone());
                let route = route(&way.url, way.directive, None);
                let target = Target::Address(address.clone());
                self.add(target, vec![server], listing, route, settings)
            }
            To::Open => {
                let route = route(&way.url, way.directive, None);
                if way.url.text.starts_with("balancer://") {
                    self.any_balancer.push(route);
                    return Ok(());
                }
                let target = Target::Variable(way.text.clone());
                self.add(target, Vec::new(), Servers::Dynamic, route, settings)
            }
            To::Balancer(name) => {
                let own = host.and_then(|host| host.members(name));
                let of_main = self.main.members(name);
                let target = Target::Group(name.clone());
                if of_main.is_some() && own.is_some() {
                    remark(&mut self.remarks, &way.directive.at, || {
                        format!("balancer \"{name}\" is that of the main server, not the one here")
                    });
                }
                let Some(members) = of_main.or(own) else {
                    let text = || format!("balancer \"{name}\" has no member here");
                    remark(&mut self.remarks, &way.directive.at, text);
                    let route = route(&way.url, way.directive, None);
                    return self.add(target, Vec::new(), Servers::Dynamic, route, settings);
                };
                for member in members {
                    self.step(0, &way.directive.at)?;
                    let route = route(&member.url, member.directive, member.address());
                    let listing = if route.only.is_empty() { Servers::Dynamic } else { listing };
                    let server = member.server().into_iter().collect();
                    self.add(target.clone(), server, listing, route, settings)?;
                }
                Ok(())
            }
        }
    }

    fn add(
        &mut self,
        target: Target,
        servers: Vec<Server>,
        listing: Servers,
        route: Route,
        settings: &Settings,
    ) -> Result<(), ConfigError> {
        if route.scheme == Scheme::Tls && !settings.is_switched_on() {
            remark(&mut self.remarks, &route.at, || {
                "SSLProxyEngine is not on here: Apache answers these requests with an error"
                    .to_owned()
            });
        }
        let position = *self.known.entry(target.clone()).or_insert_with(|| {
            self.found.push(UpstreamIntent {
                target,
                servers: Vec::new(),
                listing: Servers::Listed,
                routes: Vec::new(),
                by_variable: Arc::default(),
            });
            self.found.len() - 1
        });
        let standing = self.standing.entry((position, route.at.clone())).or_default();
        let same = standing.len();
        // What the main server says holds in every virtual host.
        let routes = &self.found[position].routes;
        let is_known = standing.iter().any(|&at| routes[at] == route);
        if !is_known {
            standing.push(routes.len());
        }
        self.step(same, &route.at)?;
        let upstream = &mut self.found[position];
        if listing == Servers::Dynamic {
            upstream.listing = listing;
        }
        for server in servers {
            if self.servers.insert((position, server.address.clone())) {
                upstream.servers.push(server);
            }
        }
        if is_known {
            return Ok(());
        }
        self.size += route.size();
        if self.size > MAX_SIZE {
            let what = "bytes of routes and their settings";
            let problem = Problem::TooMuch { what, limit: MAX_SIZE };
            return Err(ConfigError { place: route.at, problem });
        }
        upstream.routes.push(route);
        Ok(())
    }

    /// A request that names its balancer may be led to each.
    fn end(&mut self) {
        let routes: Arc<[Route]> = std::mem::take(&mut self.any_balancer).into();
        let groups = self.found.iter_mut().filter(|one| matches!(one.target, Target::Group(_)));
        groups.for_each(|group| group.by_variable = routes.clone());
    }
}

fn route(
    way: &Way<'_>,
    url: &Url,
    directive: &Directive,
    only: Option<ServerAddress>,
    settings: &Settings,
) -> Route {
    let name = match &url.host {
        Some(_) if way.preserves_host => Some(Text::Variable("ProxyPreserveHost".to_owned())),
        Some(host) => Some(Text::Literal(host.clone())),
        None => None,
    };
    let (mut tls, default_name) = settings.toward(name.as_ref(), directive);
    if url.scheme == Scheme::Unknown {
        tls.leave_open(&Setting { value: way.text.clone(), at: way.directive.at.clone() });
    }
    Route {
        protocol: url.other_scheme().unwrap_or_default().to_owned(),
        only: only.into_iter().collect(),
        default_name,
        ..Route::new(&directive.written, directive.at.clone(), url.scheme, tls)
    }
}
