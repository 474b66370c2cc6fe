//! dev
fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let exporter = hopsight::export::Exporter::with_event_output(Default::default(), Box::new(std::io::stdout()))?;
    hopsight::run::run(hopsight::run::RunOptions{live: Default::default(), limits: Default::default(), http: "127.0.0.1:9464".parse()?, http_limits: Default::default()}, &exporter)
}
