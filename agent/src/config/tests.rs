use super::*;

#[test]
fn the_documented_file_is_the_default() {
    assert_eq!(Config::parse(DEFAULT_FILE).expect("valid"), Config::default());
    // Every key is there, also those that are absent by default (as comments).
    let table: toml::Table = toml::from_str(DEFAULT_FILE).expect("valid");
    for (name, section) in &toml::Table::try_from(Config::default()).expect("a table") {
        let documented = &table[name];
        assert_eq!(documented, section, "[{name}]");
    }
    for key in [
        "# node = \"node-1\"",
        "# cluster = ",
        "# cgroup = ",
        "# file = ",
        "# state_directory = ",
        "# health_address = ",
        "# certificate = ",
        "# key = ",
        "# client_ca = ",
        "# user = ",
        "# kubeconfig = ",
        "# node = ",
        "# socket = ",
        "# endpoint = ",
    ] {
        assert!(DEFAULT_FILE.contains(key), "{key}");
    }
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Config::parse("").expect("valid"), Config::default());
}

#[test]
fn mistakes_are_named() {
    for (text, wants) in [
        ("[watch]\nproxy = [\"nginx\"]\n", &["line 2", "unknown field `proxy`", "`proxies`"][..]),
        ("[wach]\n", &["line 1", "unknown field `wach`"]),
        ("[http]\naddress = \"localhost\"\n", &["line 2", "invalid socket address"]),
        ("[http]\naddress = 9464\n", &["line 2", "invalid type"]),
        ("[hops]\nmax_hops = 0\n", &["hops.max_hops must be between 1 and 100000"]),
        ("[hops]\ntreatment_seconds = 0\n", &["treatment_seconds must not be less than policy.s"]),
        (
            "[hops]\ntreatment_seconds = 90000\nexpiry_seconds = 60\n",
            &["hops.expiry_seconds must not be less than hops.treatment_seconds"],
        ),
        ("[hops]\nmax_hops = -1\n", &["line 2", "invalid value"]),
        ("[capture]\nring_buffer_bytes = 100000\n", &["power of two"]),
        ("[watch]\nproxies = []\n", &["nothing would be watched"]),
        ("[library]\nmode = \"maybe\"\n", &["line 2", "unknown variant `maybe`", "`auto`"]),
        ("[library]\nsample_every_seconds = 60\n", &["library.sample_seconds must be"]),
        ("[http.tls]\nkey = \"k\"\n", &["http.tls.certificate and http.tls.key go together"]),
        ("[http.tls]\nclient_ca = \"c\"\n", &["http.tls.client_ca needs"]),
        ("[privileges]\nuser = \"no such\"\n", &["line 2", "\"no such\" is no user"]),
        ("[cri]\nsocket = \"cri.sock\"\n", &["cri.socket must be an absolute path"]),
        ("[agent]\nnode = \" \"\n", &["agent.node", "NODE_NAME"]),
        ("[agent]\ncluster = \"\"\n", &["agent.cluster"]),
        ("[kubernetes]\nnode = \"\"\n", &["kubernetes.node", "NODE_NAME"]),
        ("[otlp]\nendpoint = \"collector\"\n", &["otlp.endpoint: collector is neither http://"]),
        ("[hops\n", &["line 1"]),
        ("[hops]\nmax_hops = 1\nmax_hops = 2\n", &["line 3", "duplicate key"]),
    ] {
        let error = Config::parse(text).expect_err(text).to_string();
        for want in wants {
            assert!(error.contains(want), "{text:?}: {want:?} is not in: {error}");
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::read(Path::new("/nonexistent/hopsight.toml")).expect_err("missing");
    assert!(format!("{error:#}").starts_with("read configuration file /nonexistent"));
}
