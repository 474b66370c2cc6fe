use super::*;

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn options_have_values() {
    let found = options(&words("traefik --a=b --c d --e -f g --h"));
    let pairs: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("a", "b"), ("c", "d"), ("e", ""), ("f", "g"), ("h", "")]);
}

#[test]
fn where_its_configuration_is() {
    for (line, variables, first, filename) in [
        ("traefik --configFile=/a.yml", &[][..], "/a.yml", ""),
        ("traefik", &[("TRAEFIK_CONFIGFILE", "/b.yml")], "/b.yml", ""),
        ("traefik", &[("HOME", "/root")], "/etc/traefik/traefik.toml", ""),
        (
            "traefik --providers.file.filename=/d.yml",
            &[("TRAEFIK_PROVIDERS_FILE_FILENAME", "/e.yml")],
            "/etc/traefik/traefik.toml",
            "/d.yml",
        ),
        (
            "traefik",
            &[("TRAEFIK_PROVIDERS_FILE_FILENAME", "/e.yml")],
            "/etc/traefik/traefik.toml",
            "/e.yml",
        ),
    ] {
        let (files, given) = found_by(&options(&words(line)), variables);
        assert_eq!(files[0], Path::new(first), "{line}");
        let file = given.providers.file.unwrap_or_default();
        assert_eq!(file.filename, filename, "{line} {variables:?}");
    }
}

#[test]
fn where_its_api_is() {
    for (option, value, expected) in
        [("api.insecure", "true", Some("http://127.0.0.1:8080")), ("api.insecure", "false", None)]
    {
        let mut started = Static::default();
        started.set(option, value);
        let found = door(&started).as_ref().map(ToString::to_string);
        assert_eq!(found.as_deref(), expected, "{option} {value}");
    }
    for (address, expected) in [
        (":9000", Some("http://127.0.0.1:9000")),
        ("127.0.0.2:9000/tcp", Some("http://127.0.0.2:9000")),
        ("[::1]:9000", Some("http://[::1]:9000")),
        ("9000", None),
    ] {
        let mut started = Static::default();
        started.set("api.insecure", "true");
        started.set("entrypoints.traefik.address", address);
        let found = door(&started).as_ref().map(ToString::to_string);
        assert_eq!(found.as_deref(), expected, "{address}");
    }
}

/// Writes files and reads the first.
fn read_one(files: &[(&str, &str)]) -> Result<Intent, String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = ForeignRoot::at(directory.path()).unwrap();
    let path = Path::new("/").join(files[0].0);
    read_file(&root, &path).map_err(|fault| fault.to_string())
}

const YAML: &str =
    "http: { services: { app: { loadBalancer: { servers: [{ url: 'http://10.0.0.1' }] } } } }\n";
const TOML: &str = "[[http.services.other.loadBalancer.servers]]\nurl = \"http://10.0.0.2\"\n";

#[test]
fn files_are_dynamic_or_lead_to_those_that_are() {
    for (name, files, expected) in [
        ("yaml", &[("a.yaml", YAML)][..], &["app"][..]),
        ("toml", &[("a.toml", TOML)], &["other"]),
        (
            "by name",
            &[
                ("traefik.yml", "providers: { file: { filename: sub/a.yaml } }"),
                ("sub/a.yaml", YAML),
            ],
            &["app"],
        ),
        (
            "by directory",
            &[
                ("traefik.yml", "providers: { file: { directory: /sub } }"),
                ("sub/a.yaml", YAML),
                ("sub/deeper/b.toml", TOML),
                ("sub/c.txt", "ignored"),
                ("sub/empty.yml", ""),
            ],
            &["app", "other"],
        ),
        (
            "in any case, hidden, and behind a dot",
            &[
                ("traefik.YML", "Providers: { FILE: { Directory: /sub } }"),
                ("sub/.a.YAML", YAML),
                ("sub/conf.d/b.TOML", TOML),
            ],
            &["app", "other"],
        ),
        ("nothing", &[("a.yaml", "")], &[]),
    ] {
        let intent = read_one(files).unwrap_or_else(|error| panic!("{name}: {error}"));
        let names: Vec<_> = intent.upstreams.iter().map(|one| one.target.to_string()).collect();
        assert_eq!(names, expected, "{name}");
        assert_eq!(intent.files[0], Path::new("/").join(files[0].0), "{name}");
    }
}

#[test]
fn what_is_broken_says_where() {
    for (name, files, expected) in [
        ("yaml", &[("a.yaml", "http:\n  services: [\n")][..], "/a.yaml:"),
        ("another type", &[("a.yaml", "http:\n  services: 7\n")], "/a.yaml:2"),
        ("toml", &[("a.toml", "[http]\nservices = \n")], "/a.toml:2"),
        ("a template", &[("a.yaml", "http:\n  {{ range }}\n")], "/a.yaml:2: templates"),
        (
            "a file that is not there",
            &[("traefik.yml", "providers: { file: { filename: absent.yaml } }")],
            "/absent.yaml: ",
        ),
        ("bytes", &[("a.yaml", "\u{0}")], "/a.yaml"),
    ] {
        let error = read_one(files).unwrap_err();
        assert!(error.starts_with(expected), "{name}: {error}");
    }
}
